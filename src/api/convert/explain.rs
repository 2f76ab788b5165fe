//! `Why` and reason trees.

use portolan_core::{
    model::reason::{Mark, Reason},
    node::report::{Happening, Moment, Why},
};

use super::{Unreadable, required, time_in, time_out, unknown};
use crate::api::proto;

impl From<&Reason> for proto::Reason {
    fn from(reason: &Reason) -> Self {
        let mark = match reason.mark {
            Mark::Info => proto::reason::Mark::Info,
            Mark::Yes => proto::reason::Mark::Yes,
            Mark::No => proto::reason::Mark::No,
            Mark::Open => proto::reason::Mark::Open,
            Mark::Leaf => proto::reason::Mark::Leaf,
        };
        Self { mark: mark.into(), text: reason.text.clone(), because: reason.because.iter().map(Self::from).collect() }
    }
}

/// Depth is bounded by the decoder: a message nested more than 100 deep is refused before it comes here.
impl TryFrom<proto::Reason> for Reason {
    type Error = Unreadable;

    fn try_from(reason: proto::Reason) -> Result<Self, Unreadable> {
        let mark = match reason.mark() {
            proto::reason::Mark::Info => Mark::Info,
            proto::reason::Mark::Yes => Mark::Yes,
            proto::reason::Mark::No => Mark::No,
            proto::reason::Mark::Open => Mark::Open,
            proto::reason::Mark::Leaf => Mark::Leaf,
            proto::reason::Mark::Unspecified => return Err(unknown("reason.mark", reason.mark)),
        };
        let because = reason.because.into_iter().map(Self::try_from).collect::<Result<_, _>>()?;
        Ok(Self { mark, text: reason.text, because })
    }
}

impl From<&Why> for proto::WhyResponse {
    fn from(why: &Why) -> Self {
        let happening =
            |happening: &Happening| proto::why_response::Happening { time: Some(time_out(happening.at)), text: happening.text.clone() };
        Self {
            object: why.object.clone(),
            time: Some(time_out(why.at)),
            reason: Some((&why.reason).into()),
            history: why.history.iter().map(happening).collect(),
            moment: why.moment.as_ref().map(moment_out),
        }
    }
}

impl TryFrom<proto::WhyResponse> for Why {
    type Error = Unreadable;

    fn try_from(why: proto::WhyResponse) -> Result<Self, Unreadable> {
        let history = why
            .history
            .into_iter()
            .map(|happening| Ok(Happening { at: time_in(required(happening.time, "history.time")?), text: happening.text }));
        Ok(Self {
            object: why.object,
            at: time_in(required(why.time, "time")?),
            reason: required(why.reason, "reason")?.try_into()?,
            history: history.collect::<Result<_, Unreadable>>()?,
            moment: why.moment.map(moment_in).transpose()?,
        })
    }
}

pub(super) fn moment_out(moment: &Moment) -> proto::Moment {
    proto::Moment { node: moment.node.clone(), asked_time: Some(time_out(moment.asked)), notes: moment.notes.clone() }
}

pub(super) fn moment_in(moment: proto::Moment) -> Result<Moment, Unreadable> {
    let asked = time_in(required(moment.asked_time, "moment.asked_time")?);
    Ok(Moment { node: moment.node, asked, notes: moment.notes })
}

#[cfg(test)]
mod tests {
    use portolan_core::model::time::Timestamp;
    use prost::Message as _;

    use super::*;

    fn why() -> Why {
        let marks = [Mark::Yes, Mark::No, Mark::Open, Mark::Leaf];
        let reason =
            marks.into_iter().fold(Reason::new(Mark::Info, "root"), |root, mark| root.with(Reason::new(mark, format!("{mark:?}"))));
        Why {
            object: "region us-east-1".to_owned(),
            at: Timestamp(1),
            reason,
            history: vec![Happening { at: Timestamp(2), text: "went down".to_owned() }],
            moment: Some(Moment { node: "use1-a".to_owned(), asked: Timestamp(5), notes: vec!["a hole".to_owned()] }),
        }
    }

    #[test]
    fn reasons_go_there_and_back() {
        let wire = proto::WhyResponse::from(&why()).encode_to_vec();
        assert_eq!(Why::try_from(proto::WhyResponse::decode(wire.as_slice()).unwrap()), Ok(why()));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let field = |change: fn(&mut proto::WhyResponse)| {
            let mut wire = proto::WhyResponse::from(&why());
            change(&mut wire);
            Why::try_from(wire).unwrap_err().field
        };
        assert_eq!(field(|wire| wire.reason = None), "reason");
        assert_eq!(field(|wire| wire.reason.as_mut().unwrap().because[2].mark = 77), "reason.mark");
        assert_eq!(field(|wire| wire.history[0].time = None), "history.time");
    }
}
