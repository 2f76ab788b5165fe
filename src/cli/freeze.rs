//! `portolan freeze`: a time in which people change nothing.

use super::{
    Exit, Outcome,
    change::{self, Change, Once, Standing},
    desk::Desk,
    object::{self, Object},
    render::{
        table::{Cell, Table},
        text::plain,
    },
    span::{End, Span},
    wire,
};
use crate::api::proto::{
    self, CreateFreezeRequest, DeleteFreezeRequest, ListFreezesRequest, Scope as ScopeMessage,
    freeze::Expiration,
    scope::{Everything, Scope},
};

/// What resource names of freezes begin with.
const COLLECTION: &str = "freezes/";
/// How long a freeze is suggested to last.
const USUAL: &str = "4h";

#[derive(Debug, clap::Args)]
pub(super) struct Freeze {
    #[command(flatten)]
    pub(super) span: Span,
    /// Where: an object as `hold` takes it [default: everything].
    #[arg(long, value_name = "OBJECT", num_args = 1..)]
    pub(super) scope: Vec<String>,
    /// Automatic failover rests, too: a primary that is lost stays lost until somebody acts.
    #[arg(long)]
    pub(super) automation: bool,
    #[command(flatten)]
    pub(super) standing: Standing,
}

#[derive(Debug, clap::Args)]
pub(super) struct Unfreeze {
    /// Its name: `f-17`; `freezes` lists them.
    pub(super) id: String,
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) once: Once,
}

pub(super) async fn freeze(desk: &mut Desk<'_>, args: &Freeze) -> Outcome {
    let Standing { change, once, id, replace } = &args.standing;
    let end = args.span.end("freeze", USUAL, desk.now())?;
    let object = (!args.scope.is_empty()).then(|| Object::read(&args.scope)).transpose()?;
    let client = desk.client().await?;
    let scope = match object {
        None => Scope::Everything(Everything {}),
        Some(object) => object.resolve(&client).await?,
    };
    let what = format!("freeze {}{}", object::text(Some(&scope)), automation(args.automation));
    change.confirm(desk, &client, &what, None).await?;
    let request_id = if change.dry_run { String::new() } else { once.id(desk)? };
    let request = CreateFreezeRequest {
        freeze: Some(proto::Freeze {
            scope: Some(ScopeMessage { scope: Some(scope) }),
            automation: args.automation,
            expiration: Some(match end {
                End::After(length) => Expiration::Ttl(wire::duration_out(length)),
                End::At(at) => Expiration::ExpireTime(wire::timestamp_out(at)),
            }),
            ..proto::Freeze::default()
        }),
        freeze_id: id.clone(),
        replace: *replace,
        validate_only: change.dry_run,
        request_id,
        reason: change.reason.clone(),
    };
    let again = change::again(&request.request_id);
    let done = client.create_freeze(request).await.map_err(|error| change::failed(error, &again))?;
    if desk.format.is_data() {
        desk.message("CreateFreezeResponse", &done)?;
        return Ok(Exit::Ok);
    }
    let freeze = done.freeze.clone().unwrap_or_default();
    let end = wire::until(end_of(&freeze), desk.now().max(wire::timestamp(freeze.start_time.as_ref()).unwrap_or_default()));
    if change.dry_run {
        desk.print(&format!("dry run: {} until {end} would be accepted now; nothing was changed\n", plain(&what)))?;
        return Ok(Exit::Ok);
    }
    let id = plain(id_of(&freeze));
    desk.print(&format!("{} [{id}] until {end}{}\n", plain(&what), change::commit_note(done.commit.as_ref())))?;
    desk.tell(&format!("sooner: portolan unfreeze {id} --reason TEXT"))?;
    Ok(Exit::Ok)
}

pub(super) async fn unfreeze(desk: &mut Desk<'_>, args: &Unfreeze) -> Outcome {
    let client = desk.client().await?;
    let id = args.id.strip_prefix(COLLECTION).unwrap_or(&args.id);
    args.change.confirm(desk, &client, &format!("unfreeze {id}"), None).await?;
    let request = DeleteFreezeRequest {
        name: format!("{COLLECTION}{id}"),
        validate_only: args.change.dry_run,
        request_id: if args.change.dry_run { String::new() } else { args.once.id(desk)? },
        reason: args.change.reason.clone(),
    };
    let again = change::again(&request.request_id);
    let done = client.delete_freeze(request).await.map_err(|error| change::failed(error, &again))?;
    if desk.format.is_data() {
        desk.message("DeleteFreezeResponse", &done)?;
    } else if args.change.dry_run {
        desk.print(&format!("dry run: ending freeze {} would be accepted now; nothing was changed\n", plain(id)))?;
    } else {
        desk.print(&format!("ended: freeze {}{}\n", plain(id), change::commit_note(done.commit.as_ref())))?;
    }
    Ok(Exit::Ok)
}

/// `portolan freezes`.
pub(super) async fn list(desk: &mut Desk<'_>) -> Outcome {
    let all = desk.client().await?.list_freezes(ListFreezesRequest {}).await?;
    if desk.format.is_data() {
        desk.message("ListFreezesResponse", &all)?;
        return Ok(Exit::Ok);
    }
    let now = wire::node_time(all.freshness.as_ref(), desk.now());
    let row = |freeze: &proto::Freeze| {
        let scope = freeze.scope.as_ref().and_then(|scope| scope.scope.as_ref());
        [
            Cell::from(plain(id_of(freeze))),
            plain(&object::text(scope)).into(),
            if freeze.automation { "people, automation" } else { "people" }.to_owned().into(),
            plain(&freeze.creator).into(),
            wire::until(end_of(freeze), now).into(),
            plain(&freeze.reason).into(),
        ]
    };
    let headings = [("ID", 16), ("OBJECT", 24), ("RESTS", 18), ("BY", 12), ("UNTIL", 34), ("REASON", 99)];
    let mut text = "no freeze is in force\n".to_owned();
    if !all.freezes.is_empty() {
        text = Table { headings, rows: all.freezes.iter().map(row).collect() }.render(desk.width(), desk.terminal.colour);
    }
    desk.print(&format!("{text}{}", wire::behind(all.freshness.as_ref())))?;
    Ok(Exit::Ok)
}

const fn automation(rests: bool) -> &'static str {
    if rests { ", automatic failover included" } else { "" }
}

fn id_of(freeze: &proto::Freeze) -> &str {
    freeze.name.strip_prefix(COLLECTION).unwrap_or(&freeze.name)
}

fn end_of(freeze: &proto::Freeze) -> Option<portolan_core::model::time::Timestamp> {
    match &freeze.expiration {
        Some(Expiration::ExpireTime(time)) => wire::timestamp(Some(time)),
        _ => None,
    }
}
