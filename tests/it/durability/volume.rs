//! File systems of a test's own: one in memory that can be filled, one on a loop device that can be frozen or lose
//! its power. They need root; where they cannot be had, the reason is told. Unmounted when dropped.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a file system may stay alive after it was unmounted.
const GONE: Duration = Duration::from_secs(60);

/// See the module's words.
pub struct Volume {
    at: PathBuf,
    image: Option<TempDir>,
}

impl Volume {
    /// So many MiB of memory, mounted there.
    pub fn in_memory(at: &Path, mib: usize) -> Result<Volume, String> {
        Volume::in_memory_with(at, &format!("size={mib}m,mode=700"))
    }

    /// The same with no more than so many files and directories.
    pub fn with_files(at: &Path, mib: usize, files: usize) -> Result<Volume, String> {
        Volume::in_memory_with(at, &format!("size={mib}m,mode=700,nr_inodes={files}"))
    }

    fn in_memory_with(at: &Path, options: &str) -> Result<Volume, String> {
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", text(at)])?;
        Ok(Volume {
            at: at.to_owned(),
            image: None,
        })
    }

    /// An ext4 file system of so many MiB on a loop device, mounted there.
    pub fn on_loop_device(at: &Path, mib: u64) -> Result<Volume, String> {
        let image = tempfile::tempdir().expect("a directory");
        let volume = Volume {
            at: at.to_owned(),
            image: Some(image),
        };
        let file = fs::File::create(volume.image_file()).expect("a file");
        file.set_len(mib << 20).expect("a sparse file");
        let lazy = "lazy_itable_init=0,lazy_journal_init=0";
        run(
            "mkfs.ext4",
            &["-q", "-F", "-E", lazy, text(&volume.image_file())],
        )?;
        volume.mount()?;
        Ok(volume)
    }

    /// Mounts it again after [`Volume::unmount`], as after a reboot.
    pub fn mount(&self) -> Result<(), String> {
        let file = self.image_file();
        // Reading must not wait while it is frozen.
        run(
            "mount",
            &["-o", "loop,noatime", text(&file), text(&self.at)],
        )
    }

    /// Nobody may have anything open there. Returns when the file system itself is gone: a process that has mounts
    /// of its own may hold it longer, and whoever mounts it meanwhile gets the one that has no power.
    pub fn unmount(&self) {
        run("umount", &[text(&self.at)]).expect("unmounted");
        let begun = Instant::now();
        while self.is_attached() {
            assert!(begun.elapsed() < GONE, "somebody else holds {:?}", self.at);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Mounts it as after a reboot, which reads its journal, and has it looked through. What is wrong with the file
    /// system itself, in words.
    pub fn recover(&self) -> Option<String> {
        self.mount().expect("as after a reboot");
        self.unmount();
        let found = run("e2fsck", &["-fn", text(&self.image_file())]).err();
        self.mount().expect("as before");
        found
    }

    /// Whether a loop device still has the image.
    fn is_attached(&self) -> bool {
        let image = self.image_file();
        let devices = fs::read_dir("/sys/block").expect("the system's devices");
        devices.flatten().any(|device| {
            let file = fs::read_to_string(device.path().join("loop/backing_file"));
            file.is_ok_and(|file| Path::new(file.trim_end()) == image)
        })
    }

    /// Holds every write and sync up.
    pub fn freeze(&self) -> Result<(), String> {
        run("fsfreeze", &["-f", text(&self.at)])
    }

    /// Lets them go.
    pub fn thaw(&self) {
        run("fsfreeze", &["-u", text(&self.at)]).expect("thawed");
    }

    fn image_file(&self) -> PathBuf {
        let image = self.image.as_ref().expect("it is on a loop device");
        image.path().join("image")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.image.is_some() {
            let _thawed = run("fsfreeze", &["-u", text(&self.at)]);
        }
        let _gone = run("umount", &["-l", text(&self.at)]);
    }
}

/// A file of zeros that leaves no room.
pub fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("a file");
    let mut size = 1 << 20;
    while size > 0 {
        // What does not fit whole is tried in smaller pieces, to the last byte.
        if file.write_all(&vec![0; size]).is_err() {
            size /= 2;
        }
    }
}

/// Empty files in a new directory, until there can be no more.
pub fn fill_with_files(dir: &Path) {
    fs::create_dir(dir).expect("a directory");
    for n in 0.. {
        if fs::File::create(dir.join(n.to_string())).is_err() {
            return;
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(program);
    // Not in everybody's path.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            Err(format!("{program}: {}", said.trim()))
        }
    }
}
