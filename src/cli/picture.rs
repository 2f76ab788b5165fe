//! Before and after: where clients would go without a region, by the very code that answers.

use super::render::{
    COLUMNS,
    table::{Cell, Table},
    text::{percent, plain, wrap},
};
use crate::{
    api::proto::{SimulateRequest, SimulateResponse, scope::Scope},
    client::Client,
};
use portolan_core::model::units::Share;

/// The shares of all regions as planned and without this one; empty where the daemon does not work it out, which stops nobody.
pub(super) async fn without(client: &Client, scope: &Scope) -> String {
    let Scope::Region(region) = scope else { return String::new() };
    let request = SimulateRequest { fail_regions: vec![region.clone()], rps: None };
    client.simulate(request).await.map_or_else(|_| String::new(), |outcome| render(&outcome))
}

fn share(points: u32) -> Share {
    Share::basis_points(u16::try_from(points).unwrap_or(u16::MAX).min(10_000))
}

fn render(outcome: &SimulateResponse) -> String {
    let row = |region: &crate::api::proto::simulate_response::Region| {
        let note = if region.failed { "emptied" } else { "" };
        let capacity = region.capacity_rps.map_or_else(|| "-".to_owned(), |rps| format!("{rps} rps"));
        [
            Cell::from(plain(&region.name)),
            percent(share(region.share_before)).into(),
            percent(share(region.share_after)).into(),
            capacity.into(),
            note.to_owned().into(),
        ]
    };
    let headings = [("REGION", 24), ("BEFORE", 6), ("AFTER", 6), ("CAPACITY", 14), ("", 9)];
    let mut text = Table { headings, rows: outcome.regions.iter().map(row).collect() }.render(Some(COLUMNS), false);
    text = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    text.push_str(&format!("{} of clients would move, were all else healthy", percent(share(outcome.share_moved))));
    if outcome.share_unserved > 0 {
        text.push_str(&format!("; {} would get no usable answer", percent(share(outcome.share_unserved))));
    }
    text.push('\n');
    for refusal in &outcome.refusals {
        text.push_str(&format!("{}\n", wrap(&format!("WARNING {}", plain(refusal)), COLUMNS, "  ")));
    }
    text
}
