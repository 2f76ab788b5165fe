//! What agents state of who holds which role, as it travels.

use std::time::Duration;

use portolan_core::{
    cluster::limits::NAME_MAX,
    failover::{
        holding::{Statement, Word},
        token::Token,
    },
    model::ids::Label,
};

use super::{
    parcel::frame,
    proto::{Follows, Holding, Holdings, ObserveFrame, Rests, holding, observe_frame::Frame},
};

/// Statements in one frame, some hundred KiB at most.
pub(super) const HOLDINGS_PER_FRAME_MAX: usize = 512;

/// As frames of bounded size: each statement with its age.
pub(super) fn frames(stated: &[(Statement, Duration)]) -> Vec<ObserveFrame> {
    let told = |part: &[(Statement, Duration)]| Holdings { holdings: part.iter().map(told).collect() };
    stated.chunks(HOLDINGS_PER_FRAME_MAX).map(|part| frame(Frame::Holdings(told(part)))).collect()
}

fn told((statement, age): &(Statement, Duration)) -> Holding {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Holding {
        group: statement.group.to_string(),
        region: statement.region.to_string(),
        starts: statement.sequence.0,
        number: statement.sequence.1,
        generation: statement.token.generation,
        epoch: statement.token.epoch,
        // Rounded to the side on which nobody is believed for too long.
        age_ms: millis(*age).saturating_add(1),
        word: Some(match statement.word {
            Word::Holds { remaining } => holding::Word::HoldsMs(millis(remaining)),
            Word::Follows { lag } => holding::Word::Follows(Follows { lag_ms: lag.map(|lag| millis(lag).saturating_add(1)) }),
            Word::Rests => holding::Word::Rests(Rests {}),
        }),
    }
}

/// Reads the statements of a frame with their ages, but for those that this version does not know or that no node says.
pub(super) fn read(stated: Holdings) -> Vec<(Statement, Duration)> {
    stated.holdings.into_iter().take(HOLDINGS_PER_FRAME_MAX).filter_map(read_one).collect()
}

fn read_one(it: Holding) -> Option<(Statement, Duration)> {
    let is_name = |name: &str| !name.is_empty() && name.len() <= NAME_MAX && !name.chars().any(char::is_control);
    if !is_name(&it.group) || !is_name(&it.region) {
        return None;
    }
    let word = match it.word? {
        holding::Word::HoldsMs(millis) => Word::Holds { remaining: Duration::from_millis(millis) },
        holding::Word::Follows(Follows { lag_ms }) => Word::Follows { lag: lag_ms.map(Duration::from_millis) },
        holding::Word::Rests(Rests {}) => Word::Rests,
    };
    let statement = Statement {
        group: Label::new(&it.group),
        region: Label::new(&it.region),
        sequence: (it.starts, it.number),
        token: Token { generation: it.generation, epoch: it.epoch },
        word,
    };
    Some((statement, Duration::from_millis(it.age_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(word: Word) -> (Statement, Duration) {
        let token = Token { generation: 1, epoch: 4711 };
        let statement = Statement { group: "orders".into(), region: "eu".into(), sequence: (3, 7), token, word };
        (statement, Duration::from_micros(1500))
    }

    #[test]
    fn statements_travel_whole_and_only_grow_older() {
        let second = Duration::from_secs(1);
        let all =
            [Word::Holds { remaining: second }, Word::Follows { lag: None }, Word::Follows { lag: Some(second) }, Word::Rests].map(stated);
        let frames = frames(&all);
        assert_eq!(frames.len(), 1);
        let Some(Frame::Holdings(holdings)) = frames[0].frame.clone() else { panic!("{frames:?}") };
        let heard = read(holdings);
        let ages: Vec<u128> = heard.iter().map(|(_, age)| age.as_millis()).collect();
        assert_eq!(ages, [2; 4]);
        let lag = |lag: u64| Word::Follows { lag: Some(Duration::from_millis(lag)) };
        let words: Vec<Word> = heard.iter().map(|(statement, _)| statement.word).collect();
        assert_eq!(words, [all[0].0.word, all[1].0.word, lag(1001), Word::Rests]);
        assert!(heard.iter().zip(&all).all(|(heard, said)| (&heard.0.group, heard.0.token) == (&said.0.group, said.0.token)));
    }

    #[test]
    fn what_no_node_says_is_passed_over() {
        let good = told(&stated(Word::Rests));
        let bad = [
            Holding { group: String::new(), ..good.clone() },
            Holding { region: "e\nu".to_owned(), ..good.clone() },
            Holding { group: "x".repeat(NAME_MAX + 1), ..good.clone() },
            Holding { word: None, ..good.clone() },
        ];
        assert_eq!(read(Holdings { holdings: bad.into() }), []);
        assert_eq!(read(Holdings { holdings: vec![good; HOLDINGS_PER_FRAME_MAX + 9] }).len(), HOLDINGS_PER_FRAME_MAX);
        assert_eq!(frames(&vec![stated(Word::Rests); HOLDINGS_PER_FRAME_MAX + 1]).len(), 2);
    }
}
