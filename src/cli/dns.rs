//! `portolan dns query`: the answer that a client would get, and why. Any answer is a success, a refusal of ours included: it was shown.

use std::net::IpAddr;

use portolan_core::{
    model::{
        name::Name,
        reason::Reason,
        record::RecordType,
        time::{Timestamp, rfc3339},
    },
    node::report::Moment,
};
use serde::Serialize;

use super::{
    Exit, Format, Outcome, Terminal, advice, data,
    render::text::{instant, lines, moment, plain},
};
use crate::{
    api::{PreviewReport, RecordText},
    client::{ClientNetwork, Target},
};

/// What is asked, by whom, for whom.
pub(super) struct Question<'a> {
    pub(super) name: &'a Name,
    pub(super) record_type: RecordType,
    pub(super) client: Option<ClientNetwork>,
    pub(super) resolver: Option<IpAddr>,
    /// `None`: now.
    pub(super) at: Option<Timestamp>,
}

pub(super) async fn run(target: &Target, now: Timestamp, question: &Question<'_>, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
    let Question { name, record_type, client, resolver, at } = question;
    let report = advice::connect(target, now).await?.preview(name, *record_type, *client, *resolver, *at).await?;
    match format {
        Format::Json | Format::Yaml => data(terminal, format, &Body::new(question, &report))?,
        Format::Table | Format::Wide | Format::Markdown | Format::Html => terminal.out.write_all(render(question, &report).as_bytes())?,
    }
    Ok(Exit::Ok)
}

fn render(question: &Question<'_>, report: &PreviewReport) -> String {
    let mut text = format!("{} {}", question.name, question.record_type);
    if let Some(client) = question.client {
        text.push_str(&format!(" for client {client}"));
    }
    if let Some(resolver) = question.resolver {
        text.push_str(&format!(" by resolver {resolver}"));
    }
    text.push_str(&format!("\n{}", report.rcode));
    if report.authoritative {
        text.push_str(" authoritative");
    }
    text.push_str(&format!("   {}   table gen {}", instant(report.at), report.generation));
    if question.client.is_some() {
        text.push_str(&format!("   scope /{}", report.scope));
    }
    text.push('\n');
    text.push_str(&report.moment.as_ref().map_or_else(String::new, moment));
    if let Some(error) = &report.extended_error {
        text.push_str(&format!("EDE {}: {}\n", error.code, plain(&error.text)));
    }
    for (title, records) in [("ANSWER", &report.answers), ("AUTHORITY", &report.authority), ("ADDITIONAL", &report.additional)] {
        if !records.is_empty() {
            text.push_str(&format!("{title}\n"));
        }
        for record in records {
            text.push_str(&format!("  {}\n", plain(&record.to_string())));
        }
    }
    text.push_str(&format!("WHY\n{}", lines(&report.reason.render())));
    text
}

/// The JSON of a preview.
#[derive(Serialize)]
struct Body<'a> {
    name: String,
    #[serde(rename = "type")]
    record_type: String,
    client: Option<String>,
    resolver: Option<IpAddr>,
    rcode: String,
    authoritative: bool,
    answers: &'a [RecordText],
    authority: &'a [RecordText],
    additional: &'a [RecordText],
    scope: u8,
    extended_error: Option<Extended<'a>>,
    service: Option<&'a str>,
    region: Option<&'a str>,
    reason: &'a Reason,
    generation: u64,
    #[serde(serialize_with = "rfc3339::serialize")]
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    moment: Option<&'a Moment>,
}

#[derive(Serialize)]
struct Extended<'a> {
    code: u16,
    text: &'a str,
}

impl<'a> Body<'a> {
    fn new(question: &Question<'_>, report: &'a PreviewReport) -> Self {
        Self {
            name: question.name.to_string(),
            record_type: question.record_type.to_string(),
            client: question.client.map(|client| client.to_string()),
            resolver: question.resolver,
            rcode: report.rcode.to_string(),
            authoritative: report.authoritative,
            answers: &report.answers,
            authority: &report.authority,
            additional: &report.additional,
            scope: report.scope,
            extended_error: report.extended_error.as_ref().map(|error| Extended { code: error.code, text: &error.text }),
            service: report.service.as_deref(),
            region: report.region.as_deref(),
            reason: &report.reason,
            generation: report.generation,
            at: report.at,
            moment: report.moment.as_ref(),
        }
    }
}
