//! Previewed answers.

use portolan_core::{
    answer::{ExtendedError, Rcode},
    model::units::Ttl,
};

use super::{
    Unreadable, duration_in, duration_out,
    explain::{moment_in, moment_out},
    narrow, required, time_in, time_out, unknown,
};
use crate::api::{
    proto::{
        PreviewAnswerResponse,
        preview_answer_response::{ExtendedError as ProtoError, Record as ProtoRecord},
    },
    source::{PreviewReport, RecordText},
};

impl From<&PreviewReport> for PreviewAnswerResponse {
    fn from(report: &PreviewReport) -> Self {
        let records = |records: &[RecordText]| records.iter().map(record_out).collect();
        let extended = |error: &ExtendedError| ProtoError { code: error.code.into(), text: error.text.clone() };
        Self {
            rcode: report.rcode.to_string(),
            authoritative: report.authoritative,
            answers: records(&report.answers),
            authority: records(&report.authority),
            additional: records(&report.additional),
            scope: report.scope.into(),
            extended_error: report.extended_error.as_ref().map(extended),
            service: report.service.clone(),
            region: report.region.clone(),
            reason: Some((&report.reason).into()),
            generation: report.generation,
            time: Some(time_out(report.at)),
            moment: report.moment.as_ref().map(moment_out),
        }
    }
}

impl TryFrom<PreviewAnswerResponse> for PreviewReport {
    type Error = Unreadable;

    fn try_from(wire: PreviewAnswerResponse) -> Result<Self, Unreadable> {
        let codes = [Rcode::NoError, Rcode::ServFail, Rcode::NxDomain, Rcode::Refused];
        let rcode = codes.into_iter().find(|code| code.to_string() == wire.rcode);
        let records = |records: Vec<ProtoRecord>| records.into_iter().map(record_in).collect::<Result<_, _>>();
        let extended = |error: ProtoError| Ok(ExtendedError { code: narrow(error.code, "extended_error.code")?, text: error.text });
        Ok(Self {
            rcode: rcode.ok_or_else(|| unknown("rcode", &wire.rcode))?,
            authoritative: wire.authoritative,
            answers: records(wire.answers)?,
            authority: records(wire.authority)?,
            additional: records(wire.additional)?,
            scope: narrow(wire.scope, "scope")?,
            extended_error: wire.extended_error.map(extended).transpose()?,
            service: wire.service,
            region: wire.region,
            reason: required(wire.reason, "reason")?.try_into()?,
            generation: wire.generation,
            at: time_in(required(wire.time, "time")?),
            moment: wire.moment.map(moment_in).transpose()?,
        })
    }
}

fn record_out(record: &RecordText) -> ProtoRecord {
    ProtoRecord {
        name: record.name.clone(),
        ttl: Some(duration_out(record.ttl.duration())),
        r#type: record.record_type.clone(),
        data: record.data.clone(),
    }
}

fn record_in(record: ProtoRecord) -> Result<RecordText, Unreadable> {
    let ttl = duration_in(required(record.ttl, "record.ttl")?, "record.ttl")?;
    Ok(RecordText { name: record.name, ttl: Ttl::from_duration(ttl), record_type: record.r#type, data: record.data })
}

#[cfg(test)]
mod tests {
    use portolan_core::{
        answer::Answer,
        model::{
            reason::{Mark, Reason},
            record::{Record, RecordData},
            time::Timestamp,
        },
        node::report::Preview,
    };
    use prost::Message as _;

    use super::*;

    fn record(owner: &str, data: RecordData) -> Record {
        Record { owner: owner.parse().expect(owner), ttl: Ttl::from_secs(20), data }
    }

    fn preview(rcode: Rcode) -> Preview {
        let answer = Answer {
            rcode,
            authoritative: true,
            answers: vec![record("api.example.org", RecordData::A("192.0.2.1".parse().unwrap()))],
            authority: vec![record("example.org", RecordData::Ns("ns1.example.org".parse().unwrap()))],
            additional: vec![record(".", RecordData::Txt(vec![b"a b".to_vec()]))],
            scope: 24,
            extended_error: Some(ExtendedError { code: ExtendedError::STALE_ANSWER, text: "stale".to_owned() }),
            steered: None,
        };
        Preview { answer, reason: Reason::new(Mark::Leaf, "192.0.2.1"), generation: 7, at: Timestamp(1000) }
    }

    #[test]
    fn answers_go_there_and_back() {
        for rcode in [Rcode::NoError, Rcode::ServFail, Rcode::NxDomain, Rcode::Refused] {
            let report = PreviewReport::new(&preview(rcode), Some("api".to_owned()), Some("us-east-1".to_owned()));
            let wire = PreviewAnswerResponse::from(&report).encode_to_vec();
            assert_eq!(PreviewReport::try_from(PreviewAnswerResponse::decode(wire.as_slice()).unwrap()), Ok(report));
        }
    }

    #[test]
    fn records_read_as_in_a_zone_file() {
        let report = PreviewReport::new(&preview(Rcode::NoError), None, None);
        let shown: Vec<_> = [report.answers, report.authority, report.additional].concat().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["api.example.org. 20 IN A 192.0.2.1", "example.org. 20 IN NS ns1.example.org.", ". 20 IN TXT \"a b\""]);
    }

    #[test]
    fn a_scope_beyond_an_octet_is_refused() {
        let mut wire = PreviewAnswerResponse::from(&PreviewReport::new(&preview(Rcode::NoError), None, None));
        wire.scope = 256;
        assert_eq!(PreviewReport::try_from(wire).unwrap_err().field, "scope");
    }
}
