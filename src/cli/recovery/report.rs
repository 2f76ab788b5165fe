//! `portolan report`: what an operation or a drill did, how long it took and what it lost, for tickets, archives and programs.

use super::{OPERATIONS, full};
use crate::{
    api::proto::{GetReportRequest, get_report_request::Format as Wanted},
    cli::{Exit, Failure, Format, Outcome, desk::Desk, yaml},
};

const DRILLS: &str = "drills/";

/// Prints the document as it is. A report of an operation that is still open is told to be one.
pub(in crate::cli) async fn report(desk: &mut Desk<'_>, operation: &str) -> Outcome {
    let format = match desk.format {
        Format::Table | Format::Wide | Format::Markdown => Wanted::Markdown,
        Format::Html => Wanted::Html,
        Format::Json | Format::Yaml => Wanted::Json,
    };
    let is_drill = operation.starts_with("drill-") || operation.starts_with(DRILLS);
    let (prefix, what) = if is_drill { (DRILLS, "the drill is still under way") } else { (OPERATIONS, "the operation is still open") };
    let request = GetReportRequest { name: full(prefix, operation), format: format.into() };
    let report = desk.client().await?.get_report(request).await?;
    if desk.format == Format::Yaml {
        let value: serde_json::Value =
            serde_json::from_str(&report.text).map_err(|error| Failure::new(Exit::Error, format!("read the report as JSON: {error}")))?;
        yaml(&mut desk.terminal, &value)?;
    } else {
        desk.print(&format!("{}\n", report.text.trim_end()))?;
    }
    if report.end_time.is_none() {
        desk.tell(&format!("{what}: there will be another report when it has ended"))?;
    }
    Ok(Exit::Ok)
}
