//! `completions`: a script that completes commands and options in a shell.
//!
//! Comes from the command tree, so that it knows every command and no other. Writes to stdout only;
//! where the script belongs is the shell's matter, and told by `--help`.

use clap::Args;
use clap_complete::Shell;

use super::{Context, Exit, Failure, tree};

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clerk-convex-sync completions bash > /etc/bash_completion.d/clerk-convex-sync
  clerk-convex-sync completions zsh  > \"${fpath[1]}/_clerk-convex-sync\"
  clerk-convex-sync completions fish > ~/.config/fish/completions/clerk-convex-sync.fish")]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(super) fn completions(args: &CompletionsArgs, context: &Context) -> Result<Exit, Failure> {
    context.output.write(&script(args.shell))?;
    Ok(Exit::Done)
}

fn script(shell: Shell) -> String {
    let mut tree = tree();
    let name = tree.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish] {
            let script = script(shell);
            for command in tree().get_subcommands() {
                assert!(
                    script.contains(command.get_name()),
                    "{shell}: {} is missing",
                    command.get_name()
                );
            }
        }
    }
}
