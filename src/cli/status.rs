//! `portolan status`: one picture, or each as it comes.

use portolan_core::{
    model::time::Timestamp,
    node::report::{State, Status},
};

use super::{
    Exit, Failure, Format, Outcome, Terminal, advice, data,
    render::{status::render, text::plain},
};
use crate::client::{ClientError, PictureCause, Target};

/// Cursor home, clear the screen (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) async fn once(target: &Target, now: Timestamp, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
    let status = advice::connect(target, now).await?.status(format != Format::Table).await?;
    print(&status, format, terminal)?;
    Ok(match status.state {
        State::Ok | State::Starting => Exit::Ok,
        State::Degraded | State::Failing => Exit::Degraded,
    })
}

/// Shows pictures until interrupted. A daemon that restarts is waited for as long as a connection is; one that stays away ends it.
pub(super) async fn watch(target: &Target, now: Timestamp, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
    loop {
        let client = advice::connect(target, now).await?;
        let lost = match client.watch(format != Format::Table).await {
            Ok(mut pictures) => loop {
                match pictures.next().await {
                    Ok(Some((cause, status))) => show(cause, &status, format, terminal)?,
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            },
            Err(error) => Some(error),
        };
        match lost {
            // The daemon went away in either way; anything else is its answer.
            None | Some(ClientError::Unreachable(_)) => {}
            Some(ClientError::Refused(refusal)) if refusal.code == tonic::Code::Unavailable => {}
            Some(error) => return Err(error.into()),
        }
        writeln!(terminal.err, "portolan: lost {}; trying again", client.address())?;
    }
}

fn show(cause: PictureCause, status: &Status, format: Format, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if terminal.interactive && !format.is_data() {
        terminal.out.write_all(CLEAR.as_bytes())?;
        print(status, format, terminal)?;
    } else if format.is_data() {
        print(status, format, terminal)?;
    } else if cause != PictureCause::Heartbeat {
        writeln!(terminal.out, "{}", line(status))?;
    }
    Ok(terminal.out.flush()?)
}

fn print(status: &Status, format: Format, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    match format {
        Format::Json | Format::Yaml => data(terminal, format, status),
        Format::Table | Format::Wide | Format::Markdown | Format::Html => {
            Ok(terminal.out.write_all(render(status, format == Format::Wide, terminal.colour).as_bytes())?)
        }
    }
}

/// One change in one line, for logs.
fn line(status: &Status) -> String {
    let mut text = format!("{} gen {} {}", status.at, status.generation, status.state.word());
    for region in &status.regions {
        text.push_str(&format!("  {} {} {}/{}", plain(&region.name), region.observed, region.endpoints_up, region.endpoints_total));
        for intended in &region.intended {
            text.push_str(&format!(" ({})", plain(intended)));
        }
    }
    text
}
