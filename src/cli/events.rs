//! `portolan events`: what happened lately on the node that answers, and from now on with `-f`.

use portolan_core::model::time::Timestamp;

use super::{
    Exit, Failure, Outcome,
    desk::Desk,
    render::{
        table::Tone,
        text::{instant, plain},
    },
    wire,
};
use crate::{
    api::{
        proto::{Event, ListEventsRequest, ListEventsResponse, WatchEventsRequest, event::Severity},
        refusal::Reason,
    },
    client::{Client, ClientError},
};

/// The most pages that are read after a token: more events than a node keeps.
const PAGES_MAX: usize = 100;

#[derive(Debug, clap::Args)]
pub(super) struct Events {
    /// Stay, and show each event as it comes.
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Only events after this token, which the last line on stderr of a run before gave.
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    pub(super) since: String,
}

pub(super) async fn run(desk: &mut Desk<'_>, args: &Events) -> Outcome {
    let client = desk.client().await?;
    let listed = list(&client, &args.since).await?;
    let mut token = listed.token.clone();
    if !args.follow {
        if desk.format.is_data() {
            desk.message("ListEventsResponse", &listed)?;
        } else {
            show(desk, &listed.events)?;
            desk.tell(&format!("node {}; go on: portolan events --since {token}", plain(&listed.node)))?;
        }
        return Ok(Exit::Ok);
    }
    show(desk, &listed.events)?;
    let mut client = client;
    loop {
        let lost = follow(desk, &client, &mut token).await?;
        desk.tell(&format!("portolan: {lost}; connecting again"))?;
        client = desk.client().await?;
    }
}

/// Shows events until the stream ends, and says why it did.
async fn follow(desk: &mut Desk<'_>, client: &Client, token: &mut String) -> Result<String, Failure> {
    let gone = format!("{} went away", plain(client.address()));
    let mut stream = match client.watch_events(WatchEventsRequest { token: token.clone() }).await {
        Ok(stream) => stream,
        Err(error) => return missed(desk, client, error, token).await,
    };
    loop {
        match stream.next().await {
            Ok(Some(message)) => {
                show(desk, &message.events)?;
                *token = message.token;
            }
            Ok(None) | Err(ClientError::Unreachable(_)) => return Ok(gone),
            Err(error) => return missed(desk, client, error, token).await,
        }
    }
}

/// A token that cannot be gone on from leaves a gap: it is said, and the newest events follow.
async fn missed(desk: &mut Desk<'_>, client: &Client, error: ClientError, token: &mut String) -> Result<String, Failure> {
    match &error {
        ClientError::Refused(refusal) if refusal.reason == Reason::TokenOutOfRange.word() => {
            let listed = list(client, "").await?;
            desk.tell("portolan: events were missed in between; see `portolan status` for the whole picture. The newest ones:")?;
            show(desk, &listed.events)?;
            *token = listed.token;
            Ok("the stream could not be gone on with".to_owned())
        }
        ClientError::Refused(refusal) if refusal.code == tonic::Code::Unavailable => Ok(refusal.to_string()),
        _ => Err(error.into()),
    }
}

/// All events after a token; the newest ones when it is empty.
async fn list(client: &Client, token: &str) -> Result<ListEventsResponse, Failure> {
    let mut all = client.list_events(ListEventsRequest { token: token.to_owned(), page_size: 0 }).await?;
    for _ in 0..PAGES_MAX {
        if !all.more {
            break;
        }
        let page = client.list_events(ListEventsRequest { token: all.token.clone(), page_size: 0 }).await?;
        all.events.extend(page.events);
        (all.token, all.more) = (page.token, page.more);
    }
    Ok(all)
}

fn show(desk: &mut Desk<'_>, events: &[Event]) -> Result<(), Failure> {
    for event in events {
        if desk.format.is_data() {
            desk.message("Event", event)?;
        } else {
            let line = line(event, desk.terminal.colour);
            desk.print(&line)?;
        }
    }
    Ok(desk.terminal.out.flush()?)
}

/// One line, however long: the text is the point of it, and logs have no columns.
fn line(event: &Event, colour: bool) -> String {
    let at = wire::timestamp(event.time.as_ref()).unwrap_or(Timestamp(0));
    let (word, tone) = match event.severity() {
        Severity::Critical => ("CRITICAL", Tone::Bad),
        Severity::Warning => ("WARNING ", Tone::Doubtful),
        Severity::Info | Severity::Unspecified => ("INFO    ", Tone::Plain),
    };
    let object = if event.object.is_empty() { String::new() } else { format!("{}: ", plain(&event.object)) };
    format!("{} {} {object}{} [{}]\n", instant(at), tone.paint(word, colour), plain(&event.text), plain(&event.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let event = Event {
            time: Some(wire::timestamp_out(Timestamp(1_795_316_600_000))),
            kind: "endpoint_down".to_owned(),
            object: "regions/us-east-1".to_owned(),
            severity: Severity::Critical.into(),
            text: "gone\n\x1b[2J".to_owned(),
            ..Default::default()
        };
        assert_eq!(line(&event, false), "2026-11-22 03:03:20Z CRITICAL regions/us-east-1: gone ?[2J [endpoint_down]\n");
        assert!(line(&event, true).contains("\x1b[1;31mCRITICAL\x1b[0m"));
    }
}
