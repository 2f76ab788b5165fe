//! What all changes have in common: why, once, by whom it may be confirmed, and how it ends when nobody knows whether it was done.

use super::{Exit, Failure, desk::Desk};
use crate::{
    api::proto::{Commit, Overrule},
    client::{Client, ClientError, new_request_id},
};

/// What every change takes.
#[derive(Debug, clap::Args)]
pub(super) struct Change {
    /// Why, in one line; audit, pages and `status` show it.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
    /// Judge it only: same checks, same refusals, and nothing is changed.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Ask nothing; for scripts. It bypasses no refusal.
    #[arg(long, short = 'y')]
    pub(super) yes: bool,
}

/// What a change takes that is committed to the log.
#[derive(Debug, clap::Args)]
pub(super) struct Once {
    /// Given again with the same command, it has its effect once [default: a new one, which is shown].
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(super) request_id: String,
}

/// What a change takes that stays in force under a name: an order, a freeze.
#[derive(Debug, clap::Args)]
pub(super) struct Standing {
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) once: Once,
    /// A name for it [default: the cluster gives one].
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(super) id: String,
    /// Let it take the place of what has the name of --id.
    #[arg(long, requires = "id")]
    pub(super) replace: bool,
}

/// What a change takes that guardrails judge.
#[derive(Debug, clap::Args)]
pub(super) struct Overrules {
    /// A rule that shall not refuse it, as a refusal names it; audited with the reason; may be given several times.
    #[arg(long = "override", value_name = "RULE")]
    pub(super) rules: Vec<String>,
}

impl Overrules {
    /// As the API takes them: each for this change and as long as it lasts.
    pub(super) fn wire(&self, reason: &str) -> Vec<Overrule> {
        self.rules.iter().map(|rule| Overrule { rule: rule.clone(), reason: reason.to_owned(), expiration: None }).collect()
    }
}

impl Once {
    /// The request id to send with; a new one is told, so that the command can be given again.
    pub(super) fn id(&self, desk: &mut Desk<'_>) -> Result<String, Failure> {
        if !self.request_id.is_empty() {
            return Ok(self.request_id.clone());
        }
        let id = new_request_id()?;
        desk.tell(&format!("request id {id}"))?;
        Ok(id)
    }
}

impl Change {
    /// Shows where a change goes and asks for `word`, where the change is `grave` or the context is protected.
    pub(super) async fn confirm(&self, desk: &mut Desk<'_>, client: &Client, what: &str, grave: Option<&str>) -> Result<(), Failure> {
        desk.introduce(client).await?;
        if self.dry_run {
            return Ok(());
        }
        let context = desk.connection.context.as_ref().map(|context| context.name.clone());
        match (grave, desk.is_protected(), context) {
            (Some(word), _, _) => desk.confirm(what, word, self.yes),
            (None, true, Some(context)) => desk.confirm(what, &context, self.yes),
            (None, _, _) => Ok(()),
        }
    }
}

/// A change that did not come back as it should: the connection was there, so it may have been done.
pub(super) fn failed(error: ClientError, again: &str) -> Failure {
    match &error {
        ClientError::Unreachable(_) => {
            let message = format!("{error}\nthe change was sent, and whether it was done is not known: {again}");
            Failure::new(Exit::RunningOn, message)
        }
        _ => Failure::from(error),
    }
}

/// How to find out what became of a change with a request id.
pub(super) fn again(request_id: &str) -> String {
    format!("give the command again with --request-id {request_id}; it has its effect once")
}

/// What a commit says beside that it was done; empty: nothing.
pub(super) fn commit_note(commit: Option<&Commit>) -> &'static str {
    if commit.is_some_and(|commit| commit.repeated_request) { "   (given before with this request id; nothing was done again)" } else { "" }
}
