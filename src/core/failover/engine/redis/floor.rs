//! Whether a primary that is cut off goes on to take writes: `min-replicas-to-write`, here the *floor*.
//!
//! ```text
//! the operator's configuration: floor 1 --sign--> lifted: 0 --as many follow--> 1, from then on none follows: NOREPLICAS
//! ```
//!
//! With a floor a primary that none of the other regions hears refuses writes after `min-replicas-max-lag`, long before its lease ends, so that less is
//! acknowledged which is lost then. It refuses them too when nothing but its replicas is away. So it is the operator's to ask for it, in the
//! configuration of each member, and the default is to take writes; readiness says what that costs.
//!
//! Invariant: whoever is made the primary takes writes until as many follow as the floor says: a failover never ends in a primary that refuses them.

use std::time::Duration;

use crate::{failover::concern::Concern, model::time::Human};

/// A lag that is longer is no fence beside the lease, which lasts 90 s unless the plan says otherwise.
const LAG_MAX: Duration = Duration::from_secs(30);

/// How a server is set, as far as that says whether it takes writes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// `min-replicas-to-write`: it takes no writes while fewer follow. Zero: it takes them alone.
    pub replicas: u16,
    /// `min-replicas-max-lag`: whoever said nothing for longer does not count. Zero: the floor counts for nothing.
    pub lag_max: Duration,
    /// It is the primary.
    pub is_primary: bool,
    /// Who follows it and has its data, members or not.
    pub n_following: u16,
    /// What the floor is again as soon as as many follow; `None`: it was not lifted.
    pub lifted: Option<u16>,
}

impl Floor {
    /// What is amiss. `n_others`: members of the plan beside it.
    #[must_use]
    pub fn concerns(&self, n_others: usize) -> Vec<Concern> {
        let concern = |text: String, fix: &str| vec![Concern::new("min_replicas", text, fix)];
        let floor = self.lifted.unwrap_or(self.replicas);
        if floor == 0 {
            let text =
                "min-replicas-to-write is 0: while it is cut off as the primary it takes writes until its lease ends, and they are lost";
            let fix = "if rather none is taken, write min-replicas-to-write 1 and min-replicas-max-lag 10 into each member's configuration; a \
                       primary whose replicas are all away then refuses writes, too";
            return concern(text.to_owned(), fix);
        }
        if self.lag_max.is_zero() {
            return concern(
                "min-replicas-max-lag is 0, so min-replicas-to-write counts for nothing".to_owned(),
                "CONFIG SET min-replicas-max-lag 10",
            );
        }
        let mut out = Vec::new();
        if self.lag_max > LAG_MAX {
            let lag = Human(self.lag_max);
            out.extend(concern(
                format!("min-replicas-max-lag is {lag}: for so long a primary that is cut off takes writes that are lost"),
                "CONFIG SET min-replicas-max-lag 10",
            ));
        }
        if usize::from(floor) > n_others {
            let text = format!("min-replicas-to-write is {floor}, and other members of the plan are {n_others}");
            out.extend(concern(text, "let it be less, or add members"));
        }
        if !self.is_primary {
            return out;
        }
        let n = self.n_following;
        if usize::from(n) > n_others {
            let text = format!(
                "{n} replicas follow it, and other members of the plan are {n_others}: the rest let it take writes when it is cut off"
            );
            out.extend(concern(text, "let what is no member follow a replica, or min-replicas-to-write be more than those"));
        }
        match self.lifted {
            Some(floor) => {
                let text = format!("it takes writes alone: min-replicas-to-write is {floor} again when as many follow, and {n} do");
                out.extend(concern(text, "bring another member back"));
            }
            None if n < floor => {
                let text = format!("it takes no writes: min-replicas-to-write is {floor}, and {n} follow");
                out.extend(concern(text, "bring another member back, or CONFIG SET min-replicas-to-write 0"));
            }
            None => {}
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cut_primary_does_is_told_of_each_setting() {
        let well = Floor { replicas: 1, lag_max: Duration::from_secs(10), is_primary: true, n_following: 2, lifted: None };
        let told = |floor: Floor, n_others| floor.concerns(n_others).into_iter().map(|it| it.text).collect::<Vec<_>>().join("; ");
        assert_eq!(told(well, 2), "");
        assert!(told(Floor { replicas: 0, ..well }, 2).starts_with("min-replicas-to-write is 0: while it is cut off"));
        assert!(told(Floor { lag_max: Duration::ZERO, ..well }, 2).contains("counts for nothing"));
        assert!(told(Floor { lag_max: Duration::from_secs(60), ..well }, 2).starts_with("min-replicas-max-lag is 1m"));
        assert_eq!(
            told(Floor { replicas: 3, is_primary: false, n_following: 0, ..well }, 2),
            "min-replicas-to-write is 3, and other members of the plan are 2"
        );
        assert!(told(Floor { n_following: 3, ..well }, 2).starts_with("3 replicas follow it"));
        assert_eq!(told(Floor { n_following: 0, ..well }, 2), "it takes no writes: min-replicas-to-write is 1, and 0 follow");
        let lifted = Floor { replicas: 0, n_following: 0, lifted: Some(1), ..well };
        assert_eq!(told(lifted, 2), "it takes writes alone: min-replicas-to-write is 1 again when as many follow, and 0 do");
        assert_eq!(told(Floor { n_following: 0, is_primary: false, ..well }, 1), "", "nobody follows a replica");
    }
}
