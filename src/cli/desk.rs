//! Where a verb that talks to a daemon works: its connection, its streams, and the person in front of it, if there is one.

use std::io::BufRead;

use portolan_core::model::time::Timestamp;

use super::{
    Env, Exit, Failure, Format, Terminal, advice, data,
    render::text::{lines, plain},
    wire,
};
use crate::{
    api::proto::{Role, WhoAmIRequest},
    client::{Client, Target},
};

/// The longest answer to a question: what is asked for is a name.
const ANSWER_OCTETS_MAX: u64 = 1024;

/// Who sits in front of the terminal, and when.
pub struct Person<'a> {
    /// What they type; `None`: nobody is there to be asked, so what needs a confirmation fails.
    pub input: Option<&'a mut dyn BufRead>,
    /// The wall clock.
    pub clock: &'a dyn Fn() -> Timestamp,
}

/// Where to connect to, and by which context.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    pub(super) target: Target,
    pub(super) context: Option<Chosen>,
}

/// The context that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) name: String,
    /// Whether each change shows where it goes, and wants a confirmation.
    pub(super) protect: bool,
}

pub(super) struct Desk<'a> {
    pub(super) terminal: Terminal<'a>,
    pub(super) person: Person<'a>,
    pub(super) connection: Connection,
    pub(super) format: Format,
    /// Whether the terminal shows more than ASCII.
    pub(super) unicode: bool,
    /// Whether [`Desk::introduce`] has said it.
    pub(super) introduced: bool,
}

impl Desk<'_> {
    pub(super) fn now(&self) -> Timestamp {
        (self.person.clock)()
    }

    /// Connects, or says what was tried and what is likely wrong.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        advice::connect(&self.connection.target, self.now()).await
    }

    /// Prints data; `text` ends with a line end.
    pub(super) fn print(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.terminal.out.write_all(text.as_bytes())?)
    }

    /// Tells the person something that is no data.
    pub(super) fn tell(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.terminal.err, "{}", lines(text))?)
    }

    /// Prints a message of the API for programs, with the form that the API's own JSON has.
    pub(super) fn message(&mut self, name: &str, message: &impl prost::Message) -> Result<(), Failure> {
        let value = wire::value(name, message)?;
        data(&mut self.terminal, self.format, &value)
    }

    /// The columns that a table may take; `None`: as many as it wants.
    pub(super) fn width(&self) -> Option<usize> {
        (self.format != Format::Wide).then_some(super::render::COLUMNS)
    }

    /// Whether each change is shown where it goes, and confirmed.
    pub(super) fn is_protected(&self) -> bool {
        self.connection.context.as_ref().is_some_and(|context| context.protect)
    }

    /// The first line of a change in a protected context: where it goes and as whom. Said once.
    pub(super) async fn introduce(&mut self, client: &Client) -> Result<(), Failure> {
        if std::mem::replace(&mut self.introduced, true) {
            return Ok(());
        }
        let Some(Chosen { name, protect: true }) = self.connection.context.clone() else { return Ok(()) };
        let me = client.who_am_i(WhoAmIRequest {}).await?;
        let line =
            format!("{} (protected)   you {} ({})   via {}", plain(&name), plain(&me.name), role_word(me.role()), plain(client.address()));
        self.tell(&line)
    }

    /// Asks for `word`, unless `yes`. What cannot be asked is not done.
    ///
    /// # Errors
    /// [`Exit::Usage`] where nobody can be asked; [`Exit::Error`] when something else was typed.
    pub(super) fn confirm(&mut self, what: &str, word: &str, yes: bool) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        let Some(input) = self.person.input.as_deref_mut() else {
            let message = format!("{what}: nobody is here to confirm it; nothing was changed; in a script, give --yes");
            return Err(Failure::new(Exit::Usage, message));
        };
        write!(self.terminal.err, "{}\ntype {} to go on: ", lines(what), plain(word))?;
        self.terminal.err.flush()?;
        let mut typed = String::new();
        let mut bounded = std::io::Read::take(&mut *input, ANSWER_OCTETS_MAX);
        let read = bounded.read_line(&mut typed);
        read.map_err(|error| Failure::new(Exit::Error, format!("read the confirmation: {error}; nothing was changed")))?;
        if typed.trim() == word {
            return Ok(());
        }
        Err(Failure::new(Exit::Error, format!("not confirmed: `{}` is not `{word}`; nothing was changed", plain(typed.trim()))))
    }
}

/// A role in the words of the node config.
pub(super) const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "none",
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Approver => "approver",
        Role::Admin => "admin",
        Role::Breakglass => "breakglass",
    }
}

/// Whether the locale says that the terminal shows UTF-8 (POSIX.1-2024 section 8.2: the first of these that is set rules).
pub(super) fn is_unicode(env: &Env) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().filter_map(|name| env.get(*name)).find(|value| !value.is_empty());
    locale.is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_that_is_set_rules() {
        let of = |pairs: &[(&str, &str)]| is_unicode(&pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect());
        assert!(of(&[("LANG", "en_US.UTF-8")]));
        assert!(of(&[("LC_ALL", ""), ("LANG", "C.utf8")]));
        assert!(!of(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]));
        assert!(!of(&[]));
    }
}
