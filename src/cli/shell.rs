//! `portolan completion` and `portolan man`: made from the definition of the command line, so that they never tell of another one.

use std::{fs, path::Path};

use clap::CommandFactory as _;

use super::{Exit, Failure, Outcome, Terminal, args::Cli};

/// Shells with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Shell {
    /// For `/usr/share/bash-completion/completions/portolan`.
    Bash,
    /// For a file `_portolan` in a directory of `fpath`.
    Zsh,
    /// For `~/.config/fish/completions/portolan.fish`.
    Fish,
}

pub(super) fn completion(shell: Shell, terminal: &mut Terminal<'_>) -> Outcome {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    // The library panics where it cannot write, as into a pipe that was closed; a buffer takes everything.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "portolan", &mut text);
    terminal.out.write_all(&text)?;
    Ok(Exit::Ok)
}

pub(super) fn man(dir: &Path, terminal: &mut Terminal<'_>) -> Outcome {
    let written = fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    written.map_err(|error| Failure::new(Exit::Error, format!("write man pages to `{}`: {error}", dir.display())))?;
    writeln!(terminal.err, "man pages are in {}; see one: man -l {}", dir.display(), dir.join("portolan.1").display())?;
    Ok(Exit::Ok)
}
