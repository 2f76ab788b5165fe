//! A drill of the program that tells people: `hooks.after` of the group is told that this is a drill, and passes when it says that it took it.
//!
//! The channels that a plan names (`notification_channels`) are not sent to by this version, so that none of them is tried: the record says so.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::{Seen, Stage};
use crate::{
    daemon::cluster::groups::hooks::{self, AFTER_TIME},
    hook::Answer,
};

/// So often it is tried when it asks for that.
const TRIES_MAX: u32 = 3;

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(5);

impl Stage {
    pub(super) async fn notify(&self) -> Seen {
        let mut seen = Seen::default();
        let hooks = self.crew.roster().hooks(&self.group);
        let Some(name) = hooks.after() else {
            seen.lacks("the plan has no `hooks.after` for the group any more, and this version tells nobody by itself");
            return seen;
        };
        let (group, drill) = (self.group.as_str(), format!("drill-{}", self.drill.id));
        let key = format!("{group}/{drill}/notification");
        let text = format!("this is a drill: nothing happened to {group}");
        let input = json!({
            "verb": "drill", "group": group, "drill": drill, "kind": "notification", "who": self.drill.who, "why": self.drill.why, "text": text,
        });
        let told = [("VERB", "drill"), ("GROUP", group), ("DRILL", &drill), ("KEY", &key)];
        for n in 1..=TRIES_MAX {
            match hooks::call(&self.shared, name, Vec::new(), &told, input.clone(), AFTER_TIME).await {
                Answer::Yes(_) => {
                    seen.saw(format!("hook {name} took it, with the key {key}"));
                    break;
                }
                Answer::Again(why) if n < TRIES_MAX => seen.saw(format!("{why}: it is tried again")),
                Answer::Again(why) | Answer::No(why) | Answer::Failed(why) => {
                    seen.lacks(why);
                    break;
                }
            }
            sleep(AGAIN).await;
        }
        let roster = self.crew.roster();
        let channels = roster.channels();
        if !channels.is_empty() {
            seen.saw(format!("not tried, since this version does not send to channels: {}", channels.join(", ")));
        }
        seen
    }
}
