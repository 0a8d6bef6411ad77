//! What the program is made of: the rules of `deny.toml` about licenses, sources and banned crates.
//!
//! cargo-deny knows more, and needs installing; this needs nothing but cargo, and no network. Reads the lock
//! file, and what cargo says is built on this machine.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use toml::{Table, Value};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn read(path: &str) -> Table {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    let text = text.unwrap_or_else(|error| panic!("{path}: {error}"));
    text.parse()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn list<'t>(table: &'t Table, section: &str, key: &str) -> &'t [Value] {
    table[section][key].as_array().expect("a list")
}

/// Every crate that is built into the program, with its license.
fn built() -> Vec<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}|{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let text = String::from_utf8(output.stdout).expect("text");
    let crates: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once('|'))
        .map(|(package, license)| {
            let name = package.split(' ').next().unwrap_or_default();
            // What was printed before ends in an asterisk.
            let license = license.trim_end_matches("(*)").trim();
            (name.to_owned(), license.to_owned())
        })
        .collect();
    assert!(
        crates.len() > 150,
        "only {} crates were found",
        crates.len()
    );
    crates.into_iter().collect()
}

/// Whether one of the licenses that may be chosen is allowed, and each that must be kept.
fn is_allowed(license: &str, allowed: &BTreeSet<&str>) -> bool {
    let one = |choice: &str| allowed.contains(choice.trim());
    !license.is_empty()
        && license.split(" AND ").all(|part| {
            let part = part.trim().trim_start_matches('(').trim_end_matches(')');
            part.replace('/', " OR ").split(" OR ").any(one)
        })
}

#[test]
fn every_crate_has_a_license_that_is_allowed_and_none_is_banned() {
    let rules = read("deny.toml");
    let allowed = list(&rules, "licenses", "allow").iter();
    let allowed: BTreeSet<&str> = allowed.filter_map(Value::as_str).collect();
    let banned = list(&rules, "bans", "deny").iter();
    let banned: BTreeSet<&str> = banned
        .filter(|rule| rule.get("wrappers").is_none())
        .filter_map(|rule| rule["name"].as_str())
        .collect();
    assert!(allowed.len() > 3 && banned.len() > 2);
    let mut mistakes = Vec::new();
    for (name, license) in built() {
        if banned.contains(name.as_str()) {
            mistakes.push(format!("{name} is banned"));
        }
        if !is_allowed(&license, &allowed) {
            mistakes.push(format!("{name}: {license:?} is not allowed"));
        }
    }
    assert!(mistakes.is_empty(), "\n{}", mistakes.join("\n"));
}

#[test]
fn a_license_is_judged_by_what_may_be_chosen_and_what_must_be_kept() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Unicode-3.0"]);
    for (license, fine) in [
        ("MIT", true),
        ("MIT OR GPL-3.0", true),
        ("MIT/Apache-2.0", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("ISC AND (Apache-2.0 OR ISC)", true),
        ("GPL-3.0", false),
        ("MIT AND GPL-3.0", false),
        ("(GPL-3.0 OR AGPL-3.0) AND MIT", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(license, &allowed), fine, "{license}");
    }
}

#[test]
fn everything_comes_from_the_one_registry_with_its_checksum() {
    let lock = read("Cargo.lock");
    let packages = lock["package"].as_array().expect("packages");
    assert!(packages.len() > 200);
    // The program, and what stands in for a crate of the registry (patches): one of each name, so nobody uses that crate.
    let mut own = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let Some(source) = package.get("source").and_then(Value::as_str) else {
            own.push(name);
            continue;
        };
        assert_eq!(source, CRATES_IO, "{name}");
        let checksum = package.get("checksum").and_then(Value::as_str);
        assert!(checksum.is_some_and(|sum| sum.len() == 64), "{name}");
    }
    assert_eq!(own, ["clerk-convex-sync", "hmac-sha256"]);
    let stand_ins = |package: &&Value| package["name"].as_str() == Some("hmac-sha256");
    assert_eq!(packages.iter().filter(stand_ins).count(), 1);
}

#[test]
fn the_code_under_every_signature_is_that_of_its_standard() {
    // RFC 4231, cases 1, 2 and 6: the last key is longer than a block.
    let long = [0xaa; 131];
    let cases: [(&[u8], &str, &str); 3] = [
        (
            &[0x0b; 20],
            "Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            b"Jefe",
            "what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            &long,
            "Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ];
    for (key, input, code) in cases {
        let computed = hmac_sha256::HMAC::mac(input, key).map(|byte| format!("{byte:02x}"));
        assert_eq!(computed.concat(), code);
    }
}

#[test]
fn every_exception_from_an_advisory_has_a_reason() {
    let rules = read("deny.toml");
    for exception in list(&rules, "advisories", "ignore") {
        let text = |key: &str| exception.get(key).and_then(Value::as_str).unwrap_or("");
        assert!(text("id").starts_with("RUSTSEC-"), "{exception:?}");
        assert!(text("reason").len() > 20, "{exception:?}");
    }
}
