//! What the demo says, and whom it asks: ASCII, 100 columns, one line at a time as things happen.

use std::{
    io::{self, IsTerminal as _},
    sync::mpsc::{Receiver, TrySendError, sync_channel},
    time::Duration,
};

use super::Stop;
use crate::cli::{Failure, Terminal};

/// What fits a terminal, a chat and a page.
const COLUMNS: usize = 100;

/// How often the keyboard is looked at while somebody is asked.
const KEY_TURN: Duration = Duration::from_millis(50);

/// Where the demo writes, and, when a person is there, what they type.
pub(super) struct Screen<'a, 't> {
    terminal: &'a mut Terminal<'t>,
    /// `None`: nobody is asked.
    keys: Option<Receiver<Key>>,
}

enum Key {
    Line(String),
    End,
}

impl<'a, 't> Screen<'a, 't> {
    /// `unattended`: nobody is asked, also not on a terminal.
    pub(super) fn new(terminal: &'a mut Terminal<'t>, unattended: bool) -> Self {
        let attended = !unattended && terminal.interactive && io::stdin().is_terminal();
        Self { terminal, keys: attended.then(keys) }
    }

    /// Whether a person is asked before each act.
    pub(super) const fn is_attended(&self) -> bool {
        self.keys.is_some()
    }

    /// Says it, now: lines longer than the screen go on below, further in.
    pub(super) fn say(&mut self, text: &str) -> Result<(), Failure> {
        for line in text.lines() {
            writeln!(self.terminal.out, "{}", wrapped(line))?;
        }
        Ok(self.terminal.out.flush()?)
    }

    /// The heading of an act.
    pub(super) fn head(&mut self, text: &str) -> Result<(), Failure> {
        let text = if self.terminal.colour { format!("\n\x1b[1m{text}\x1b[0m") } else { format!("\n{text}") };
        // Not wrapped: escape sequences have no width.
        writeln!(self.terminal.out, "{text}")?;
        Ok(self.terminal.out.flush()?)
    }

    /// A line with the seconds since the act began.
    pub(super) fn at(&mut self, since: Duration, text: &str) -> Result<(), Failure> {
        self.say(&format!("  {:>6}  {text}", format!("+{}", seconds(since))))
    }

    /// Waits until a person lets the next act begin; at once when nobody is asked.
    pub(super) async fn ask(&mut self, what: &str) -> Result<(), Stop> {
        let Some(keys) = &self.keys else { return Ok(()) };
        // What was typed before the question is no answer to it.
        while keys.try_recv().is_ok() {}
        let asked = write!(self.terminal.out, "\n[Enter] {what}, q to quit: ").and_then(|()| self.terminal.out.flush());
        asked.map_err(Failure::from)?;
        loop {
            match keys.try_recv() {
                Ok(Key::Line(line)) if line.trim().eq_ignore_ascii_case("q") => return Err(Stop::Quit),
                Ok(Key::Line(_)) => return Ok(()),
                Ok(Key::End) | Err(std::sync::mpsc::TryRecvError::Disconnected) => return Err(Stop::Quit),
                Err(std::sync::mpsc::TryRecvError::Empty) => tokio::time::sleep(KEY_TURN).await,
            }
        }
    }
}

/// Reads lines on a thread of its own, because a read of the keyboard cannot be given up; it ends with the process.
fn keys() -> Receiver<Key> {
    // One line is enough: what is typed between questions is thrown away.
    let (sender, keys) = sync_channel(1);
    std::thread::spawn(move || {
        loop {
            let mut line = String::new();
            let key = match io::stdin().read_line(&mut line) {
                Ok(0) | Err(_) => Key::End,
                Ok(_) => Key::Line(line),
            };
            let is_end = matches!(key, Key::End);
            let is_gone = match sender.try_send(key) {
                Err(TrySendError::Disconnected(_)) => true,
                Ok(()) | Err(TrySendError::Full(_)) => false,
            };
            if is_end || is_gone {
                return;
            }
        }
    });
    keys
}

/// `2.3s`.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{}.{}s", duration.as_secs(), duration.subsec_millis() / 100)
}

/// One line in ASCII, broken between words at the width of the screen; what goes on stands four columns further in.
fn wrapped(line: &str) -> String {
    let line: String = line.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
    let line = line.trim_end();
    if line.len() <= COLUMNS {
        return line.to_owned();
    }
    let indent = " ".repeat((line.len() - line.trim_start().len() + 4).min(COLUMNS / 2));
    let (mut text, mut rest) = (String::new(), line.to_owned());
    while rest.len() > COLUMNS {
        let from = (rest.len() - rest.trim_start().len() + 1).min(COLUMNS);
        let at = rest[from..=COLUMNS].rfind(' ').map_or(COLUMNS, |at| from + at);
        let (head, tail) = rest.split_at(at);
        text.push_str(head.trim_end());
        text.push('\n');
        rest = format!("{indent}{}", tail.trim_start());
    }
    text + &rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_below_further_in() {
        let line = format!("  + {}", "word ".repeat(50));
        let text = wrapped(&line);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 3 && lines.iter().all(|line| line.len() <= COLUMNS), "{text}");
        assert!(lines[1].starts_with("      word") && lines[0].starts_with("  + word"), "{text}");
        assert_eq!(text.split_whitespace().count(), 51);
        let long = "x".repeat(250);
        assert_eq!(wrapped(&long).split_whitespace().collect::<String>(), long);
        assert_eq!(wrapped("a\x1b[2J\u{e9}"), "a?[2J?");
    }
}
