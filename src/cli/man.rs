//! `man`: the manual, as one page on stdout or as one page a command in a directory.
//!
//! Everything in it comes from the command tree, so that it cannot say something else than `--help`.

use std::{io, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap_mangen::Man;

use super::{Context, Exit, Failure, tree};

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clerk-convex-sync man | man -l -
  clerk-convex-sync man --dir /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Write one page for each command into this directory instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints or writes the manual.
pub(super) fn man(args: &ManArgs, context: &Context) -> Result<Exit, Failure> {
    match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)
                .and_then(|()| clap_mangen::generate_to(tree(), dir))
                .with_context(|| format!("cannot write the manual into {}", dir.display()))?;
        }
        None => {
            let page = page().context("cannot render the manual")?;
            context.output.write(&page)?;
        }
    }
    Ok(Exit::Done)
}

/// One page: the program, then a section for each command.
fn page() -> io::Result<String> {
    let mut root = tree();
    root.build();
    let mut page = Vec::new();
    Man::new(root.clone()).render(&mut page)?;
    let mut page = String::from_utf8_lossy(&page).into_owned();
    add_commands(&root, &mut page)?;
    Ok(page)
}

fn add_commands(parent: &clap::Command, page: &mut String) -> io::Result<()> {
    for command in parent.get_subcommands() {
        let name = command.get_bin_name().unwrap_or(command.get_name());
        let man = Man::new(command.clone());
        let mut section = Vec::new();
        man.render_synopsis_section(&mut section)?;
        man.render_description_section(&mut section)?;
        man.render_options_section(&mut section)?;
        if command.get_after_help().is_some() {
            man.render_extra_section(&mut section)?;
        }
        // The sections of a command are subsections of the one page.
        let section = String::from_utf8_lossy(&section).replace(".SH ", ".SS ");
        page.push_str(&format!(".SH \"{}\"\n", name.to_uppercase()));
        page.push_str(&section);
        add_commands(command, page)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_section_for_every_command() {
        let page = page().unwrap();
        assert!(page.contains(".TH clerk-convex-sync 1"), "{page}");
        for section in ["STATUS", "FAILURES RETRY", "WEBHOOK SEND", "MAN"] {
            assert!(
                page.contains(&format!(".SH \"CLERK-CONVEX-SYNC {section}\"")),
                "{section}"
            );
        }
        assert_eq!(page.matches(".TH ").count(), 1);
    }

    #[test]
    fn a_directory_gets_a_page_for_every_command() {
        let dir = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(tree(), dir.path()).unwrap();
        for name in ["", "-status", "-failures-list", "-webhook-send"] {
            let file = dir.path().join(format!("clerk-convex-sync{name}.1"));
            assert!(file.exists(), "{}", file.display());
        }
    }
}
