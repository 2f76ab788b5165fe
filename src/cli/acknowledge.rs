//! `portolan ack`: somebody has seen it.

use super::{
    Exit, Outcome,
    change::{self, Change, Once},
    desk::Desk,
    render::text::plain,
    span::{End, Span},
    wire,
};
use crate::api::proto::{Acknowledgement, CreateAcknowledgementRequest, acknowledgement::Expiration};

/// How long an acknowledgement is suggested to last.
const USUAL: &str = "1h";

#[derive(Debug, clap::Args)]
pub(super) struct Acknowledge {
    /// What you have seen, as the page or `status` names it.
    #[arg(required = true, num_args = 1.., value_name = "OBJECT")]
    pub(super) object: Vec<String>,
    #[command(flatten)]
    pub(super) span: Span,
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) once: Once,
}

pub(super) async fn run(desk: &mut Desk<'_>, args: &Acknowledge) -> Outcome {
    let end = args.span.end("ack", USUAL, desk.now())?;
    // Alerts and operations are acknowledged as well, whose names this client does not know; so the words are taken as they are.
    let object = args.object.join(" ");
    let client = desk.client().await?;
    args.change.confirm(desk, &client, &format!("acknowledge {object}"), None).await?;
    let request = CreateAcknowledgementRequest {
        acknowledgement: Some(Acknowledgement {
            object: object.clone(),
            expiration: Some(match end {
                End::After(length) => Expiration::Ttl(wire::duration_out(length)),
                End::At(at) => Expiration::ExpireTime(wire::timestamp_out(at)),
            }),
            ..Acknowledgement::default()
        }),
        validate_only: args.change.dry_run,
        request_id: if args.change.dry_run { String::new() } else { args.once.id(desk)? },
        reason: args.change.reason.clone(),
    };
    let again = change::again(&request.request_id);
    let done = client.create_acknowledgement(request).await.map_err(|error| change::failed(error, &again))?;
    if desk.format.is_data() {
        desk.message("CreateAcknowledgementResponse", &done)?;
        return Ok(Exit::Ok);
    }
    if args.change.dry_run {
        desk.print(&format!("dry run: acknowledging {} would be accepted now; nothing was changed\n", plain(&object)))?;
        return Ok(Exit::Ok);
    }
    let given = done.acknowledgement.as_ref();
    let end = given.and_then(|given| match &given.expiration {
        Some(Expiration::ExpireTime(time)) => wire::timestamp(Some(time)),
        _ => None,
    });
    let from = given.and_then(|given| wire::timestamp(given.create_time.as_ref())).unwrap_or_else(|| desk.now());
    let end = wire::until(end, from);
    let note = change::commit_note(done.commit.as_ref());
    desk.print(&format!("acknowledged: {}; pages about it come again after {end}{note}\n", plain(&object)))?;
    Ok(Exit::Ok)
}
