//! The five steps of the Convex package's README, done in an app that was there before.
//!
//! The built binary, the code that the README shows, Convex's own code generator, the TypeScript compiler, and the
//! Node host in the place of the deployment. Nothing is prepared that the README does not tell to do; what stands in
//! for Convex's side of `npx convex dev` is said where it does.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    process::System,
    samples::node::Host,
    world::{PATH, eventually},
};

/// What the app had before, beside its own columns of `users`: a table of its own.
const OWN_TABLE: &str = r#"  posts: defineTable({ text: v.string() }),"#;
/// How the app's schema begins.
const IMPORTS: &str = r#"import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";
"#;
const TSCONFIG: &str = r#"{ "compilerOptions": { "strict": true, "moduleResolution": "Bundler", "module": "ESNext",
  "target": "ESNext", "lib": ["ES2021", "dom"], "skipLibCheck": true, "isolatedModules": true, "noEmit": true,
  "types": [] }, "include": ["./**/*"] }"#;

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("convex")
}

/// The README's text from a step to the next one.
fn step(readme: &str, number: usize) -> &str {
    let begin = format!("\n{number}. **");
    let at = readme.find(&begin).expect("the step");
    let rest = &readme[at + 1..];
    let end = [format!("\n{}. **", number + 1), "\n## ".to_owned()];
    let end = end.iter().filter_map(|end| rest.find(end)).min();
    &rest[..end.expect("an end")]
}

/// The code that a step shows, without what it is indented by.
fn code(step: &str) -> String {
    let (_, rest) = step.split_once("```ts\n").expect("code");
    let (code, _) = rest.split_once("   ```").expect("its end");
    let line = |line: &str| format!("{}\n", line.strip_prefix("   ").unwrap_or(line));
    code.lines().map(line).collect()
}

/// A program of the app's packages, as `npx` runs it.
async fn npx(app: &Path, arguments: &[&str]) {
    let program = app.join("node_modules/.bin").join(arguments[0]);
    let mut command = Command::new(program);
    command.args(&arguments[1..]).current_dir(app);
    let output = command.output().await.expect("npm ci in convex/");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{arguments:?}: {said:?}");
}

/// An app with a schema of its own and no synchronisation.
fn app_that_was_there() -> tempfile::TempDir {
    let app = tempfile::tempdir().expect("a directory");
    let convex = app.path().join("convex");
    fs::create_dir(&convex).expect("made");
    let manifest =
        json!({"name": "app", "private": true, "type": "module", "dependencies": {"convex": "*"}});
    let own =
        "export default defineSchema({\n  users: defineTable({ creditsBalance: v.number() }),\n";
    for (file, text) in [
        ("package.json", manifest.to_string()),
        ("convex/tsconfig.json", TSCONFIG.to_owned()),
        (
            "convex/schema.ts",
            format!("{IMPORTS}\n{own}{OWN_TABLE}\n}});\n"),
        ),
    ] {
        fs::write(app.path().join(file), text).expect("written");
    }
    symlink(
        package().join("node_modules"),
        app.path().join("node_modules"),
    )
    .expect("linked");
    app
}

async fn row(host: &Host, id: &str) -> Option<Value> {
    let rows = host.rows("users").await;
    rows.into_iter().find(|row| row["clerkId"] == id)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_five_steps_of_the_readme_bring_users_into_an_app_that_was_there_before() {
    if std::env::var_os("CCS_SKIP_NODE").is_some_and(|value| value == "1") {
        println!("!!! CCS_SKIP_NODE=1: THE STEPS OF THE README ARE NOT TRIED !!!");
        return;
    }
    let readme = fs::read_to_string(package().join("README.md")).expect("the README");
    let app = app_that_was_there();
    let schema = app.path().join("convex/schema.ts");
    let before = fs::read_to_string(&schema).expect("the app's schema");
    // The column that step 2 adds is required.
    let defaults = ("CCS_USERS__INSERT_DEFAULTS", r#"{"creditsBalance":7}"#);
    let mut system = System::prepared(&[defaults]).await;
    system.configured_by(&app.path().join("clerk-convex-sync.toml"));

    assert!(step(&readme, 1).contains("`clerk-convex-sync init`"));
    let directory = app.path().display().to_string();
    let done = system.run(&["init", "--convex-dir", &directory]).await;
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(
        fs::read_to_string(&schema).expect("it"),
        before,
        "the app's schema stays"
    );
    assert!(app.path().join("convex/clerkSyncLib/factory.ts").is_file());

    let merged = code(step(&readme, 2));
    let others = "  // …your other tables";
    assert!(merged.contains(others), "{merged}");
    let merged = format!("{IMPORTS}{}", merged.replace(others, OWN_TABLE));
    fs::write(&schema, merged).expect("written");

    // What `npx convex dev` does without a deployment; the host loads the same directory then.
    assert!(step(&readme, 3).contains("`npx convex dev`"));
    let generate = [
        "convex",
        "codegen",
        "--system-udfs",
        "--typecheck",
        "disable",
    ];
    npx(app.path(), &generate).await;
    npx(app.path(), &["tsc", "--noEmit", "-p", "convex"]).await;
    let host = Host::serving(&app.path().join("convex")).await;

    assert!(step(&readme, 4).contains("`CONVEX_DEPLOY_KEY`"));
    system.set("CONVEX_DEPLOY_KEY", host.key());
    system.set("CONVEX_URL", host.url());

    let last = step(&readme, 5);
    for command in ["check --online", "reconcile", "run"] {
        assert!(
            last.contains(&format!("`clerk-convex-sync {command}`")),
            "{last}"
        );
    }
    let create = |name: &str| {
        let user = json!({"first_name": name, "email_address": [format!("{name}@post.example")]});
        system.clerk.create_user(user).expect("a user")
    };
    let earlier = create("ada");
    let checked = system.run(&["check", "--online"]).await;
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let moved = system.run(&["reconcile"]).await;
    assert_eq!(moved.status.code(), Some(0), "{moved:?}");
    let found = row(&host, &earlier).await.expect("who was there before");
    assert_eq!(
        (&found["email"], &found["creditsBalance"]),
        (&json!("ada@post.example"), &json!(7))
    );
    system.start_daemon().await;
    let url = format!("http://{}{PATH}", system.address());
    system.clerk.set_webhook_url(Some(url));
    let user = json!({"first_name": "Grace", "email_address": ["grace@post.example"]});
    let later = system.clerk.create_user(user).expect("a user");
    eventually("who signs up has a row", async || {
        row(&host, &later).await.is_some()
    })
    .await;
    assert_eq!(system.terminate().await, 0);
}
