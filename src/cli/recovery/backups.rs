//! `portolan recovery backups`: how backups stand against the plan, class by class.

use portolan_core::model::time::Timestamp;

use super::outlook::found;
use crate::{
    api::proto::{BackupClass, BackupPlace, ListBackupsRequest},
    cli::{
        Exit, Failure, Outcome,
        desk::Desk,
        render::{
            COLUMNS,
            table::{Cell, Table, Tone},
            text::{age, instant, plain, wrap},
        },
        wire::timestamp,
    },
};

/// Grades with the spaces behind them.
const GRADE_COLUMNS: usize = 9;

/// `portolan recovery backups`.
pub(in crate::cli) async fn backups(desk: &mut Desk<'_>, class: Option<&str>) -> Outcome {
    let mut all = desk.client().await?.list_backups(ListBackupsRequest {}).await?;
    if let Some(wanted) = class {
        all.classes.retain(|class| class.name == wanted);
        if all.classes.is_empty() {
            let text = format!("the plan has no class `{}` in its backup strategy; see them all: portolan recovery backups", plain(wanted));
            return Err(Failure::new(Exit::Usage, text));
        }
    }
    let is_well = |class: &BackupClass| matches!(class.standing.as_str(), "pass" | "warn");
    let exit = if all.classes.iter().all(is_well) { Exit::Ok } else { Exit::Degraded };
    if desk.format.is_data() {
        desk.message("ListBackupsResponse", &all)?;
        return Ok(exit);
    }
    if all.classes.is_empty() {
        desk.print("the plan has no backup strategy\n")?;
    }
    for (n, class) in all.classes.iter().enumerate() {
        let gap = if n > 0 { "\n" } else { "" };
        let text = shown(desk, class);
        desk.print(&format!("{gap}{text}"))?;
    }
    Ok(exit)
}

fn shown(desk: &Desk<'_>, class: &BackupClass) -> String {
    let (now, colour) = (desk.now(), desk.terminal.colour);
    let restored = timestamp(class.restore_time.as_ref());
    let restored = restored.map_or_else(|| "never".to_owned(), |at| format!("{} ago, {}", age(now.since(at)), instant(at)));
    let standing = plain(&class.standing);
    let mut text = format!("{}: {standing}, {}; last verified restore: {restored}\n", plain(&class.name), plain(&class.rule));
    let findings = class.findings.iter().map(|finding| found(finding, GRADE_COLUMNS, colour));
    text.extend(findings);
    if !class.places.is_empty() {
        let headings = [("PLACE", 34), ("REGION", 14), ("NEWEST", 10), ("OLDEST", 10), ("COMPLETE", 10), ("SIZE", 10), ("LOOKED", 20)];
        let table = Table { headings, rows: class.places.iter().map(|place| row(place, now)).collect() };
        text.push_str(&table.render(desk.width(), colour));
    }
    for place in class.places.iter().filter(|place| !place.trouble.is_empty()) {
        let when = since(timestamp(place.trouble_time.as_ref()), now).map_or_else(String::new, |ago| format!(" {ago}"));
        let line = format!("{} was not seen{when}: {}", plain(&place.place), plain(&place.trouble));
        text.push_str(&wrap(&line, COLUMNS, "  "));
        text.push('\n');
    }
    text
}

fn row(place: &BackupPlace, now: Timestamp) -> [Cell; 7] {
    let when = |time: Option<&prost_types::Timestamp>, is_seen: bool| match since(timestamp(time), now) {
        Some(ago) => Cell::from(ago),
        None if is_seen => Cell("none".to_owned(), Tone::Bad),
        None => unknown(),
    };
    let is_seen = place.look_time.is_some();
    let more = if place.truncated { "+" } else { "" };
    [
        plain(&place.place).into(),
        plain(if place.region.is_empty() { "-" } else { &place.region }).into(),
        when(place.newest_time.as_ref(), is_seen),
        when(place.oldest_time.as_ref(), is_seen),
        place.complete.map_or_else(unknown, |complete| format!("{complete}{more}").into()),
        place.octets.map_or_else(unknown, |octets| format!("{}{more}", size(octets)).into()),
        since(timestamp(place.look_time.as_ref()), now).unwrap_or_else(|| "never".to_owned()).into(),
    ]
}

fn unknown() -> Cell {
    Cell("unknown".to_owned(), Tone::Doubtful)
}

fn since(time: Option<Timestamp>, now: Timestamp) -> Option<String> {
    time.map(|time| format!("{} ago", age(now.since(time))))
}

/// In the greatest unit of 1024 that leaves a whole number, cut.
fn size(octets: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let n = units.len() - 1;
    let step = (0..n).find(|step| octets >> (10 * (step + 1)) == 0).unwrap_or(n);
    format!("{} {}", octets >> (10 * step), units[step])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_cut_to_their_unit() {
        let shown: Vec<String> = [0, 1023, 1024, 5 << 20, (1 << 40) - 1, u64::MAX].into_iter().map(size).collect();
        assert_eq!(shown, ["0 B", "1023 B", "1 KiB", "5 MiB", "1023 GiB", "15 EiB"]);
    }
}
