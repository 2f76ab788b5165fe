//! How much may be in the replicated state, and the checks of texts against it.
//!
//! Everything here is committed by every voter, kept by every node and sent whole to a node that lags: so each list and text has a bound.

use std::time::Duration;

use super::refusal::{Refusal, Rule};

/// The longest name of a person, a service account or a node's identity, in octets: a SPIFFE id or a certificate subject fits.
pub const ACTOR_MAX: usize = 256;
/// The longest reason, in octets: two lines of a ticket, not the ticket.
pub const REASON_MAX: usize = 500;
/// The longest request id, in octets: a UUID with a prefix.
pub const REQUEST_ID_MAX: usize = 64;
/// The longest name of an order, a freeze, a cluster, a node or a region, in octets: one DNS label.
pub const NAME_MAX: usize = 63;
/// The longest name of an object that is acknowledged, or of an endpoint, in octets: service, region and a DNS name of 253 with its port.
pub const OBJECT_MAX: usize = 400;
/// The longest version of a node, in octets: a release with its build.
pub const VERSION_MAX: usize = 64;
/// The longest address of a node, in octets: a DNS name of 253 with its port.
pub const ADDRESS_MAX: usize = 260;

/// The most orders at a time. Below [`crate::health::overlay::OVERRIDES_MAX`], so that a node without quorum has room for local ones.
pub const ORDERS_MAX: usize = 900;
/// The most freezes at a time beside those of the plan. People announce them; more are a script that runs away.
pub const FREEZES_MAX: usize = 64;
/// The most windows of freeze that a plan brings along: weekly ones for some years.
pub const PLAN_FREEZES_MAX: usize = 256;
/// The most acknowledgements at a time: as many objects can be paged at once as orders can be in force, and more are nobody's overview.
pub const ACKNOWLEDGEMENTS_MAX: usize = 1000;
/// The most nodes: two hundred observers on each of five voters, with as many again that were not forgotten yet.
pub const NODES_MAX: usize = 2000;
/// The most node ids that are refused for ever: several losses of a majority with all observers that hung on it.
pub const REFUSED_NODES_MAX: usize = 4000;
/// The most rules that one entry overrules: there are not more that can be.
pub const OVERRULES_MAX: usize = 4;

/// The most request ids that are remembered.
pub const REQUESTS_MAX: usize = 10_000;
/// For how long an outcome is remembered by its request id, in milliseconds of entries' time: a client that retries after a day is another
/// one.
pub const REQUESTS_KEPT_MS: i64 = 24 * 3600 * 1000;

/// The longest life of an order, a freeze or an overruled rule, in milliseconds: what shall hold for longer belongs into the plan.
pub const ORDER_LIFE_MAX_MS: i64 = 30 * 86_400 * 1000;
/// The longest life of an acknowledgement, in milliseconds: what still stands after a week deserves another page.
pub const ACKNOWLEDGEMENT_LIFE_MAX_MS: i64 = 7 * 86_400 * 1000;
/// The last time that an entry may be stamped with: the end of the year 9999, beyond which times do not print.
pub const AT_MAX_MS: i64 = 253_402_300_799_999;

/// The longest text of a plan, in octets: a thousand endpoints in three regions take a third of it.
pub const PLAN_TEXT_MAX: usize = 1024 * 1024;
/// The most zone files of a plan.
pub const ZONE_FILES_MAX: usize = 256;
/// The longest text of all zone files of a plan together, in octets. Larger zones belong onto servers of their own.
pub const ZONE_TEXT_MAX: usize = 2 * 1024 * 1024;
/// The most services in the outline of a plan.
pub const SERVICES_MAX: usize = 4096;
/// The most endpoints in the outline of a plan, over all services.
pub const ENDPOINTS_MAX: usize = 16_384;
/// The most data groups in the outline of a plan.
pub const GROUPS_MAX: usize = 1024;
/// The most operations of all groups together that ended and were not the last of their group: a few megabytes, also after a year of drills of
/// a thousand groups.
pub const EARLIER_MAX: usize = 512;
/// The most drills of all groups together that ended: a few megabytes, also when each has all its lines.
pub const DRILLS_MAX: usize = 1024;
/// The most programs of a group that may stop a primary: nobody tries more while a lease runs out.
pub const RUNGS_MAX: usize = 16;
/// The most evacuations, open and over. The oldest that ended leave first; each has at most as many lines as there are data groups.
pub const EVACUATIONS_MAX: usize = 8;
/// The most returns of traffic, open and over. The oldest that ended leave first.
pub const RETURNS_MAX: usize = 16;
/// The longest time in the policy of a data group: the plan's own keys have no longer one.
pub const POLICY_TIME_MAX: Duration = Duration::from_hours(365 * 24);

/// The longest entry, in octets: the longest plan with its zone files and outline, each quote and line end written as two.
pub const ENTRY_OCTETS_MAX: usize = 8 * 1024 * 1024;
/// The longest snapshot, in octets: every list above full.
pub const SNAPSHOT_OCTETS_MAX: usize = 64 * 1024 * 1024;

/// How many audit entries stay in the state: some days of people's work, a megabyte or two. The rest is exported as it is made.
pub const AUDIT_WINDOW: usize = 2000;
/// The longest description of a change or an outcome in the audit, in octets.
pub const AUDIT_TEXT_MAX: usize = 600;

/// `text`, cut to at most `max` octets at a boundary of characters, without control characters. What was cut ends with three periods.
pub(super) fn cut(text: &str, max: usize) -> String {
    let printable = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    if text.len() <= max {
        return printable(text);
    }
    let mut end = max.saturating_sub(3);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", printable(&text[..end]))
}

/// One line of 1 to `max` octets.
pub(super) fn line(what: &str, text: &str, max: usize) -> Result<(), Refusal> {
    let problem = if text.trim().is_empty() {
        "is empty".to_owned()
    } else if text.len() > max {
        format!("has {} octets", text.len())
    } else if text.chars().any(char::is_control) {
        "has a control character or a line end in it".to_owned()
    } else {
        return Ok(());
    };
    Err(Refusal::new(Rule::Invalid, format!("{what} {problem}"), format!("give one line of 1 to {max} octets")))
}

/// A name of 1 to [`NAME_MAX`] letters, digits, `.`, `_` and `-`.
pub(super) fn name(what: &str, text: &str) -> Result<(), Refusal> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !text.is_empty() && text.len() <= NAME_MAX && text.chars().all(is_good) {
        return Ok(());
    }
    let text = format!("{what} `{}` is not a name", cut(text, NAME_MAX));
    Err(Refusal::new(Rule::Invalid, text, format!("use 1 to {NAME_MAX} letters, digits, `.`, `_` and `-`")))
}

/// Room for one more in a list of `len`.
pub(super) fn room(what: &str, len: usize, max: usize, remedy: &str) -> Result<(), Refusal> {
    if len < max {
        return Ok(());
    }
    Err(Refusal::new(Rule::Full, format!("there are {len} {what}, and no more than {max} are kept"), remedy))
}

/// At most so many.
pub(super) fn count(what: &str, n: usize, max: usize) -> Result<(), Refusal> {
    if n <= max {
        return Ok(());
    }
    Err(Refusal::new(Rule::Invalid, format!("{n} {what}"), format!("give at most {max}")))
}
