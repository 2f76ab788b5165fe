//! `portolan watch`: an operation as it goes on, until it ends.

use super::{OPERATIONS, Watch, evacuate, full, received, returns, short, ways_on};
use crate::{
    api::proto::{Mark, Operation, WatchOperationRequest, WatchOperationResponse},
    cli::{
        Exit, Failure, Outcome,
        desk::Desk,
        render::{
            table::Tone,
            text::{instant, plain},
        },
        wire,
    },
    client::Client,
};

/// What was shown of the operation last.
#[derive(Default)]
struct Shown {
    /// The index of the last mark.
    after: u64,
    /// The rule that holds it; empty: none.
    held: String,
}

/// Shows each mark and each change of what holds it; exits 0 when it succeeded.
pub(in crate::cli) async fn watch(desk: &mut Desk<'_>, args: &Watch) -> Outcome {
    if evacuate::is_one(&args.operation) {
        return evacuate::watch(desk, &args.operation).await;
    }
    if returns::is_one(&args.operation) {
        return returns::watch(desk, &args.operation).await;
    }
    let mut shown = Shown { after: args.after, held: String::new() };
    let name = full(OPERATIONS, &args.operation);
    let mut client = desk.client().await?;
    loop {
        match follow(desk, &client, &name, &mut shown).await? {
            Ok(exit) => return Ok(exit),
            Err(lost) => desk.tell(&format!("portolan: {lost}; connecting again"))?,
        }
        client = desk.client().await?;
    }
}

/// Until it ends, or the stream does: then why.
async fn follow(desk: &mut Desk<'_>, client: &Client, name: &str, shown: &mut Shown) -> Result<Result<Exit, String>, Failure> {
    let request = WatchOperationRequest { name: name.to_owned(), after: shown.after };
    let mut stream = client.watch_operation(request).await?;
    loop {
        let message = match received(client, stream.next().await)? {
            Ok(message) => message,
            Err(lost) => return Ok(Err(lost)),
        };
        if let Some(exit) = show(desk, shown, &message)? {
            return Ok(Ok(exit));
        }
    }
}

fn show(desk: &mut Desk<'_>, shown: &mut Shown, message: &WatchOperationResponse) -> Result<Option<Exit>, Failure> {
    let operation = message.operation.clone().unwrap_or_default();
    let is_held_anew = operation.held != shown.held;
    let is_over = !operation.ending.is_empty();
    if desk.format.is_data() {
        // What says nothing new keeps the line, no more.
        if !message.marks.is_empty() || is_held_anew || is_over {
            desk.message("WatchOperationResponse", message)?;
        }
    } else {
        for mark in &message.marks {
            desk.print(&line(mark))?;
        }
        // What held it when it ended holds nothing any more.
        if is_held_anew && !is_over {
            let text = held(&operation, desk.terminal.colour);
            desk.print(&text)?;
        }
        if is_over {
            desk.print(&format!("{} {}\n", plain(short(&operation.name)), plain(&operation.ending)))?;
        }
    }
    desk.terminal.out.flush()?;
    shown.held = operation.held;
    shown.after = message.marks.last().map_or(shown.after, |mark| mark.index);
    let exit = if operation.ending == "succeeded" { Exit::Ok } else { Exit::Error };
    Ok(is_over.then_some(exit))
}

/// One line, however long: the text is the point of it.
fn line(mark: &Mark) -> String {
    let at = wire::timestamp(mark.time.as_ref()).map_or_else(|| "unknown".to_owned(), instant);
    format!("{:>6} {at} {:<9} {}\n", mark.index, plain(&mark.phase), plain(&mark.text))
}

fn held(operation: &Operation, colour: bool) -> String {
    if operation.held.is_empty() {
        return format!("{:>6} {}\n", "", Tone::Good.paint("goes on", colour));
    }
    let text = format!("HELD, {}: {}", plain(&operation.held), plain(&operation.held_because));
    format!("{:>6} {}; next: {}\n", "", Tone::Doubtful.paint(&text, colour), ways_on(operation).join(", or "))
}
