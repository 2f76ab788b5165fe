//! `portolan drain`, `weight`, `hold` and their kin: orders laid over what is observed, each with an author, a reason and an end.

use portolan_core::model::units::Share;

use super::{
    Exit, Failure, Outcome,
    change::{self, Change, Once, Overrules, Standing},
    desk::Desk,
    object::{self, Object},
    picture,
    render::{
        table::{Cell, Table, Tone},
        text::{instant, plain},
    },
    span::{End, Span},
    wire,
};
use crate::{
    api::proto::{
        CreateOverrideRequest, DeleteOverrideRequest, DeleteOverrideResponse, Freshness, ListOverridesRequest, ListOverridesResponse,
        Override, Scope as ScopeMessage,
        r#override::{Expiration, Kind},
        scope::Scope,
    },
    client::Client,
};

/// The most pages of orders: the cluster keeps fewer than a thousand.
const PAGES_MAX: usize = 4;
/// What resource names of orders begin with.
const COLLECTION: &str = "overrides/";
/// How long an order is suggested to last.
const USUAL: &str = "1h";

/// An order.
#[derive(Debug, clap::Args)]
pub(super) struct Order {
    /// `region us-east-1`, `service api`, `service api in us-east-1`, an endpoint, or a name that only one of them has.
    #[arg(required = true, num_args = 1.., value_name = "OBJECT")]
    pub(super) object: Vec<String>,
    #[command(flatten)]
    pub(super) terms: Terms,
}

/// What every order takes beside its object.
#[derive(Debug, clap::Args)]
pub(super) struct Terms {
    #[command(flatten)]
    pub(super) span: Span,
    #[command(flatten)]
    pub(super) overrules: Overrules,
    #[command(flatten)]
    pub(super) standing: Standing,
}

#[derive(Debug, clap::Args)]
pub(super) struct Drain {
    #[command(flatten)]
    pub(super) order: Order,
    /// Without a majority: only nodes that can be reached obey, for one hour at most.
    #[arg(long)]
    pub(super) local: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Weight {
    /// The object, then the weight, 0 to 65535: `region us-east-1 20`.
    #[arg(required = true, num_args = 2.., value_name = "OBJECT N")]
    pub(super) object: Vec<String>,
    #[command(flatten)]
    pub(super) terms: Terms,
    /// Without a majority: only nodes that can be reached obey, for one hour at most.
    #[arg(long)]
    pub(super) local: bool,
}

/// The end of orders.
#[derive(Debug, clap::Args)]
pub(super) struct TakeBack {
    /// The object as in the order, or the order's own name: `o-17`.
    #[arg(required = true, num_args = 1.., value_name = "OBJECT|ID")]
    pub(super) object: Vec<String>,
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) overrules: Overrules,
    #[command(flatten)]
    pub(super) once: Once,
}

#[derive(Debug, clap::Args)]
pub(super) struct Release {
    #[command(flatten)]
    pub(super) take_back: TakeBack,
    /// OBJECT is a data group: let automation look at it again before its cool-down is over.
    #[arg(long, conflicts_with = "rules")]
    pub(super) cool_down: bool,
}

/// What shall be ordered.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) verb: &'static str,
    pub(super) kind: Kind,
    pub(super) weight: Option<u16>,
    pub(super) local: bool,
}

impl Wanted {
    pub(super) const fn new(verb: &'static str, kind: Kind) -> Self {
        Self { verb, kind, weight: None, local: false }
    }

    /// Whether clients leave the object, so that a slip of the fingers hurts.
    fn empties(&self) -> bool {
        matches!(self.kind, Kind::Drain | Kind::ForcedDown) || self.weight == Some(0)
    }
}

pub(super) async fn weight(desk: &mut Desk<'_>, args: &Weight) -> Outcome {
    let (number, object) = args.object.split_last().ok_or_else(|| Failure::new(Exit::Usage, "weight: of what, and how much?"))?;
    let weight = number.parse::<u16>();
    let weight = weight.map_err(|_| Failure::new(Exit::Usage, format!("weight: `{number}` is no weight; the last word is 0 to 65535")))?;
    let wanted = Wanted { weight: Some(weight), local: args.local, ..Wanted::new("weight", Kind::Weight) };
    give(desk, wanted, object, &args.terms).await
}

/// Gives an order.
pub(super) async fn give(desk: &mut Desk<'_>, wanted: Wanted, object: &[String], terms: &Terms) -> Outcome {
    let object = Object::read(object)?;
    let end = terms.span.end(wanted.verb, USUAL, desk.now())?;
    let client = desk.client().await?;
    desk.introduce(&client).await?;
    let scope = object.resolve(&client).await?;
    let what = format!("{} {}", describe(wanted.kind, wanted.weight.map(u32::from)), object::text(Some(&scope)));
    let mut request = CreateOverrideRequest {
        r#override: Some(Override {
            scope: Some(ScopeMessage { scope: Some(scope.clone()) }),
            kind: wanted.kind.into(),
            weight: wanted.weight.map(u32::from),
            expiration: Some(match end {
                End::After(length) => Expiration::Ttl(wire::duration_out(length)),
                End::At(at) => Expiration::ExpireTime(wire::timestamp_out(at)),
            }),
            local: wanted.local,
            ..Override::default()
        }),
        override_id: terms.standing.id.clone(),
        replace: terms.standing.replace,
        validate_only: true,
        request_id: String::new(),
        reason: terms.standing.change.reason.clone(),
        overrules: terms.overrules.wire(&terms.standing.change.reason),
    };
    let is_wide = matches!(scope, Scope::Region(_) | Scope::Service(_) | Scope::Everything(_));
    let grave = (wanted.empties() && is_wide).then(|| object::word(&scope));
    let change = &terms.standing.change;
    if change.dry_run || (!change.yes && (grave.is_some() || desk.is_protected())) {
        // Refused before anybody is asked, by the very rules that judge the order itself.
        let judged = client.create_override(request.clone()).await?;
        let picture = if wanted.empties() { picture::without(&client, &scope).await } else { String::new() };
        if change.dry_run {
            return dry(desk, &what, judged.r#override.as_ref(), &picture, &judged);
        }
        if !picture.is_empty() {
            desk.tell(picture.trim_end())?;
        }
    }
    change.confirm(desk, &client, &what, grave.as_deref()).await?;
    request.validate_only = false;
    request.request_id = terms.standing.once.id(desk)?;
    let again = change::again(&request.request_id);
    let given = client.create_override(request).await.map_err(|error| change::failed(error, &again))?;
    if desk.format.is_data() {
        desk.message("CreateOverrideResponse", &given)?;
        return Ok(Exit::Ok);
    }
    let order = given.r#override.unwrap_or_default();
    let id = plain(id_of(&order));
    let local = if order.local { ", on reachable nodes only" } else { "" };
    let end = wire::until(end_of(&order), wire::timestamp(order.create_time.as_ref()).unwrap_or_else(|| desk.now()));
    desk.print(&format!("{} [{id}] until {end}{local}{}\n", plain(&what), change::commit_note(given.commit.as_ref())))?;
    let back = if wanted.kind == Kind::Drain { "undrain" } else { "release" };
    desk.tell(&format!("sooner: portolan {back} {id} --reason TEXT; see it: portolan status"))?;
    Ok(Exit::Ok)
}

/// What became of a dry run.
fn dry(desk: &mut Desk<'_>, what: &str, order: Option<&Override>, picture: &str, judged: &impl prost::Message) -> Outcome {
    if desk.format.is_data() {
        desk.message("CreateOverrideResponse", judged)?;
        return Ok(Exit::Ok);
    }
    let end = order.and_then(end_of).map_or_else(String::new, |end| format!(" until {}", instant(end)));
    desk.print(&format!("{picture}dry run: {}{end} would be accepted now; nothing was changed\n", plain(what)))?;
    Ok(Exit::Ok)
}

/// Which orders a verb takes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// `undrain`.
    Drains,
    /// `release`.
    Others,
}

/// Takes orders back. None in force is no error: what was wanted is so.
pub(super) async fn take_back(desk: &mut Desk<'_>, args: &TakeBack, which: Which) -> Outcome {
    let client = desk.client().await?;
    let all = list_all(&client).await?;
    let chosen = choose(&client, &all.overrides, &args.object, which).await?;
    let verb = if which == Which::Drains { "undrain" } else { "release" };
    if chosen.is_empty() {
        desk.tell(&format!("{verb} {}: no such order is in force; `portolan overrides` lists them", args.object.join(" ")))?;
        if desk.format.is_data() {
            desk.message("DeleteOverrideResponse", &DeleteOverrideResponse::default())?;
        }
        return Ok(Exit::Ok);
    }
    let what: Vec<String> = chosen.iter().map(|order| format!("{verb} {} [{}]", name_of(order), id_of(order))).collect();
    args.change.confirm(desk, &client, &what.join("\n"), None).await?;
    let request_id = if args.change.dry_run { String::new() } else { args.once.id(desk)? };
    for (i, order) in chosen.iter().enumerate() {
        // One request id per change: with several orders each has its own, made of the one that was told.
        let request_id = if i == 0 { request_id.clone() } else { format!("{request_id}-{i}") };
        let request = DeleteOverrideRequest {
            name: order.name.clone(),
            validate_only: args.change.dry_run,
            request_id,
            reason: args.change.reason.clone(),
            overrules: args.overrules.wire(&args.change.reason),
        };
        let again = change::again(&request.request_id);
        let done = client.delete_override(request).await.map_err(|error| change::failed(error, &again))?;
        let line = format!("{} [{}]", plain(&name_of(order)), plain(id_of(order)));
        if desk.format.is_data() {
            desk.message("DeleteOverrideResponse", &done)?;
        } else if args.change.dry_run {
            desk.print(&format!("dry run: taking back {line} would be accepted now; nothing was changed\n"))?;
        } else {
            desk.print(&format!("taken back: {line}{}\n", change::commit_note(done.commit.as_ref())))?;
        }
    }
    Ok(Exit::Ok)
}

/// The orders that the words mean: one by its name, or those on exactly this object.
async fn choose<'a>(client: &Client, all: &'a [Override], words: &[String], which: Which) -> Result<Vec<&'a Override>, Failure> {
    // What a return of traffic made of a drain is taken back as one: all clients at once.
    let fits = |order: &&Override| matches!(order.kind(), Kind::Drain | Kind::Admission) == (which == Which::Drains);
    if let [word] = words {
        let id = word.strip_prefix(COLLECTION).unwrap_or(word);
        if let Some(order) = all.iter().find(|order| id_of(order) == id) {
            if !fits(&order) {
                let verb = if which == Which::Drains { "release" } else { "undrain" };
                let message = format!("{id} is {}: end it by `portolan {verb} {id}`", name_of(order));
                return Err(Failure::new(Exit::Usage, message));
            }
            return Ok(vec![order]);
        }
        if word.starts_with(COLLECTION) {
            return Ok(Vec::new());
        }
    }
    let scope = Object::read(words)?.resolve(client).await?;
    let found: Vec<&Override> = all.iter().filter(fits).filter(|order| scope_of(order) == Some(&scope)).collect();
    if which == Which::Others && found.iter().any(|order| order.kind() != found[0].kind()) {
        let ids: Vec<String> = found.iter().map(|order| format!("{} ({})", id_of(order), kind_word(order.kind()))).collect();
        let message = format!("{} has orders of several kinds: {}; say which by its name", object::text(Some(&scope)), ids.join(", "));
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(found)
}

/// `portolan overrides`.
pub(super) async fn list(desk: &mut Desk<'_>) -> Outcome {
    let client = desk.client().await?;
    let all = list_all(&client).await?;
    if desk.format.is_data() {
        desk.message("ListOverridesResponse", &all)?;
        return Ok(Exit::Ok);
    }
    let now = wire::node_time(all.freshness.as_ref(), desk.now());
    let text = render(&all.overrides, now, desk.width(), desk.terminal.colour);
    desk.print(&format!("{text}{}", wire::behind(all.freshness.as_ref())))?;
    Ok(Exit::Ok)
}

fn render(orders: &[Override], now: portolan_core::model::time::Timestamp, width: Option<usize>, colour: bool) -> String {
    if orders.is_empty() {
        return "no orders are in force\n".to_owned();
    }
    let row = |order: &Override| {
        let local = if order.local { " (local)" } else { "" };
        [
            Cell::from(plain(id_of(order))),
            Cell(format!("{}{local}", described(order)), Tone::Doubtful),
            plain(&object::text(scope_of(order))).into(),
            plain(&order.creator).into(),
            wire::until(end_of(order), now).into(),
            plain(&order.reason).into(),
        ]
    };
    let headings = [("ID", 16), ("ORDER", 16), ("OBJECT", 26), ("BY", 12), ("UNTIL", 34), ("REASON", 99)];
    Table { headings, rows: orders.iter().map(row).collect() }.render(width, colour)
}

/// Every order, page by page.
pub(super) async fn list_all(client: &Client) -> Result<ListOverridesResponse, Failure> {
    let mut all: Option<ListOverridesResponse> = None;
    let mut page_token = String::new();
    for _ in 0..PAGES_MAX {
        let page = client.list_overrides(ListOverridesRequest { page_size: 0, page_token }).await?;
        page_token = page.next_page_token.clone();
        match &mut all {
            None => all = Some(page),
            Some(all) => all.overrides.extend(page.overrides),
        }
        if page_token.is_empty() {
            break;
        }
    }
    let mut all = all.unwrap_or_else(|| ListOverridesResponse { freshness: Some(Freshness::default()), ..Default::default() });
    all.next_page_token = page_token;
    Ok(all)
}

fn id_of(order: &Override) -> &str {
    order.name.strip_prefix(COLLECTION).unwrap_or(&order.name)
}

fn scope_of(order: &Override) -> Option<&Scope> {
    order.scope.as_ref().and_then(|scope| scope.scope.as_ref())
}

fn end_of(order: &Override) -> Option<portolan_core::model::time::Timestamp> {
    match &order.expiration {
        Some(Expiration::ExpireTime(time)) => wire::timestamp(Some(time)),
        _ => None,
    }
}

/// The order with its object: `drain region us-east-1`.
fn name_of(order: &Override) -> String {
    format!("{} {}", described(order), object::text(scope_of(order)))
}

/// What an order says, without its object.
fn described(order: &Override) -> String {
    let share = order.admission.map(|points| Share::basis_points(u16::try_from(points).unwrap_or(u16::MAX)));
    share.map_or_else(|| describe(order.kind(), order.weight), |share| format!("{} {share}", kind_word(order.kind())))
}

fn describe(kind: Kind, weight: Option<u32>) -> String {
    weight.map_or_else(|| kind_word(kind).to_owned(), |weight| format!("{} {weight}", kind_word(kind)))
}

const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Unspecified => "unknown order",
        Kind::Drain => "drain",
        Kind::Weight => "weight",
        Kind::ForcedUp => "forced up",
        Kind::ForcedDown => "forced down",
        Kind::Maintenance => "maintenance",
        Kind::Hold => "hold",
        Kind::Admission => "admission",
    }
}
