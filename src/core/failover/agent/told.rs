//! What an agent tells of itself: its database as it was seen last, and by which right it writes.

use super::{Agent, Database, Facts, Goal, TROUBLE_CHARS_MAX};
use crate::{failover::order::Status, model::time::Tick};

impl Agent {
    /// What it tells of itself.
    #[must_use]
    pub fn status(&mut self, now: Tick) -> Status {
        self.n_told += 1;
        let follows = match (&self.goal, &self.facts.database) {
            (Goal::Follow { token, upstream, .. }, Database::Standby { receives_from: Some(from) })
                if upstream == from && self.facts.stream.is_up() =>
            {
                Some((*token, from.clone()))
            }
            _ => None,
        };
        let grant = self.holder.grant().map(|grant| grant.token);
        let writes = self.facts.database == Database::Writes && self.facts.opening.is_some_and(|it| Some(it.token) == grant);
        let sequence = (self.disk.starts, self.n_told);
        let silence = || self.facts.silence.as_ref().map(|why| format!("its database does not answer: {why}"));
        let trouble = self.trouble.clone().or_else(silence).map(|text| text.chars().take(TROUBLE_CHARS_MAX).collect());
        let class = self.class();
        let Facts { sight, seen_at, stream, wrote, aside, .. } = self.facts;
        let replayed = self.facts.copy.as_ref().map(|copy| copy.replayed);
        // Whoever was told to stop, or is outranked, holds nothing from then on, whatever it still does.
        let is_holding = writes && self.goal == Goal::Lead && self.holder.is_live(now);
        let holding = self.holder.soft().filter(|_| is_holding).map(|soft| soft.since(now));
        let highest = self.disk.highest;
        let (said_at_us, seen_at_us) = (now.0, seen_at.0);
        let doubt = self.doubt.map(|doubt| doubt.found.to_string());
        let Facts { archive, concerns, unfit, .. } = self.facts.clone();
        Status {
            sequence,
            said_at_us,
            highest,
            grant,
            class,
            follows,
            writes,
            sight,
            seen_at_us,
            stream,
            replayed,
            trouble,
            doubt,
            archive,
            wrote,
            aside,
            concerns,
            unfit,
            holding,
            usurped: self.usurped.map(|at| now.since(at)),
            // What it stands beside says so.
            opens_copies: false,
        }
    }
}
