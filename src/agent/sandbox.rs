//! Copies that are opened apart for drills, beside an agent's own course: begun when the leader asks, told of each time it asks, given up when it
//! asks no more, when it says so, and as soon as the member has anything else to do.
//!
//! ```text
//! leader --Isolate--> asked --begins--> task: the engine opens a copy, asks it; then every copy is ended and removed
//!                       '--- how far it is <---'
//! leader --Abandon, any order that leaves the member other than it is; a task of the agent; a kill --> give_up: the task is dropped where it is
//! ```
//!
//! Invariants: none of it reaches the agent's machine. It has no grant, takes no token, and tells nothing of the member but what became of the
//! copy; and the agent waits for nothing of it, neither for its end. A drill that was abandoned, or is older than one that was asked for, never
//! begins again while the agent lives.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use portolan_core::failover::order::{FromAgent, Isolate, Tried};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::engine::Engine;

/// A leader asks every few seconds. One that is lost has its successor ask within a minute, as elections go.
const ASKED_WITHIN: Duration = Duration::from_secs(60);

/// The one of this agent: at most one at a time, since a copy takes as much room as the database.
pub(super) struct Sandbox {
    engine: Arc<dyn Engine>,
    current: Option<Current>,
    /// The last one, until nothing of it is left.
    last: Option<JoinHandle<()>>,
    /// The highest drill that was asked for. Their numbers grow: whoever asks for a lower one does not know yet that it is over.
    highest: u64,
    /// The highest drill that a leader gave up; zero: none.
    abandoned: u64,
}

struct Current {
    drill: u64,
    tried: Arc<Mutex<Tried>>,
    asked: Instant,
    stop: CancellationToken,
}

impl Drop for Current {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Current {
    fn tried(&self) -> MutexGuard<'_, Tried> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sandbox {
    /// What an agent that was lost left is removed beside everything else.
    pub(super) fn new(engine: Arc<dyn Engine>) -> Self {
        let at_start = Arc::clone(&engine);
        let last = tokio::spawn(async move {
            if let Err(why) = at_start.clear_sandboxes().await {
                warn!("what a drill left is still there: {why}");
            }
        });
        Self { engine, current: None, last: Some(last), highest: 0, abandoned: 0 }
    }

    /// A leader asks: it begins, if it is another one than before, and is told of. `busy`: what the agent is at; `None`: nothing, so it may begin.
    pub(super) fn asked(&mut self, wanted: Isolate, busy: Option<String>) -> FromAgent {
        let drill = wanted.drill;
        if drill < self.highest || drill <= self.abandoned {
            return FromAgent::Isolated {
                drill,
                tried: Tried::Failed("it is over: it was abandoned, or another one came after it".to_owned()),
            };
        }
        self.highest = drill;
        if self.current.as_ref().is_none_or(|current| current.drill != drill) {
            if let Some(busy) = busy {
                return FromAgent::Isolated { drill, tried: Tried::Failed(format!("it is at something else: {busy}")) };
            }
            self.begin(wanted);
        }
        let tried = self.current.as_mut().map(|current| {
            current.asked = Instant::now();
            current.tried().clone()
        });
        FromAgent::Isolated { drill, tried: tried.unwrap_or_else(|| Tried::Failed("it was given up".to_owned())) }
    }

    /// The member has something to do: whatever goes on ends where it is. A drill that asks again is told why.
    pub(super) fn give_up(&mut self, why: &str) {
        let Some(current) = &self.current else { return };
        let mut tried = current.tried();
        if matches!(*tried, Tried::Busy(_)) {
            info!("drill-{} is given up: {why}", current.drill);
            *tried = Tried::Failed(format!("it was given up: {why}"));
        }
        current.stop.cancel();
    }

    /// That drill is over, and is begun by nobody any more: a leader that was cut off may go on to ask for it.
    pub(super) fn abandon(&mut self, drill: u64) {
        self.abandoned = drill.max(self.abandoned);
        self.current.take_if(|current| current.drill == drill);
    }

    /// Gives up what nobody asks for any more.
    pub(super) fn look(&mut self) {
        self.current.take_if(|current| current.asked.elapsed() > ASKED_WITHIN);
    }

    fn begin(&mut self, wanted: Isolate) {
        let drill = wanted.drill;
        let (tried, stop) = (Arc::new(Mutex::new(Tried::Busy("it begins".to_owned()))), CancellationToken::new());
        // The one before is given up by this.
        self.current = Some(Current { drill, tried: Arc::clone(&tried), asked: Instant::now(), stop: stop.clone() });
        let (engine, last) = (Arc::clone(&self.engine), self.last.take());
        self.last = Some(tokio::spawn(async move {
            if let Some(last) = last {
                // Whatever it was, nothing of it acts any more.
                let _ = last.await;
            }
            // Why it was given up stays.
            let set = |tried: &Mutex<Tried>, what| {
                let mut tried = tried.lock().unwrap_or_else(PoisonError::into_inner);
                if matches!(*tried, Tried::Busy(_)) {
                    *tried = what;
                }
            };
            let busy = Arc::clone(&tried);
            let say = move |what: &str| set(&busy, Tried::Busy(what.to_owned()));
            let shown = stop.run_until_cancelled(engine.isolate(&wanted, &say)).await;
            let cleared = engine.clear_sandboxes().await;
            if let Err(why) = &cleared {
                warn!("what drill-{drill} left is still there: {why}");
            }
            let ended = match (shown, cleared) {
                (None, _) => Tried::Failed("it was given up".to_owned()),
                (Some(Err(why)), Ok(())) => Tried::Failed(why),
                (Some(Err(why)), Err(left)) => Tried::Failed(format!("{why}; and its copy is still there: {left}")),
                (Some(Ok(_)), Err(left)) => Tried::Failed(format!("it was shown, and its copy is still there: {left}")),
                (Some(Ok(restored)), Ok(())) => Tried::Passed(restored),
            };
            match &ended {
                Tried::Failed(why) => info!("drill-{drill} failed: {why}"),
                Tried::Passed(_) | Tried::Busy(_) => info!("drill-{drill}: a copy was shown to work, and is removed"),
            }
            set(&tried, ended);
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use async_trait::async_trait;
    use portolan_core::failover::{
        agent::{Facts, Task},
        lease::Grant,
        order::{Restored, Say},
    };
    use tokio::sync::Notify;

    use super::{
        super::engine::{Course, Vessel},
        *,
    };

    /// A copy of it is made when the test says so.
    #[derive(Default)]
    struct Slow {
        goes_on: Notify,
        began: AtomicU32,
        cleared: AtomicU32,
    }

    #[async_trait]
    impl Engine for Slow {
        async fn look(&self, _: Vessel) -> Result<Facts, String> {
            Err("nobody looks".to_owned())
        }

        async fn beat(&self) -> Result<(), String> {
            Ok(())
        }

        fn begin(&self, _: &Task, _: Option<&Grant>) -> Box<dyn Course> {
            unreachable!("nobody begins anything")
        }

        async fn settled(&self) {}

        async fn isolate(&self, _: &Isolate, say: &Say) -> Result<Restored, String> {
            self.began.fetch_add(1, SeqCst);
            say("a copy is made");
            self.goes_on.notified().await;
            let time = Duration::from_secs(1);
            Ok(Restored { copied: time, opened: time, behind: None, lines: Vec::new() })
        }

        async fn clear_sandboxes(&self) -> Result<(), String> {
            self.cleared.fetch_add(1, SeqCst);
            Ok(())
        }
    }

    fn wanted(drill: u64) -> Isolate {
        Isolate { drill, ..Isolate::default() }
    }

    /// Asks for a drill, and lets what runs beside run.
    async fn ask(sandbox: &mut Sandbox, drill: u64) -> Tried {
        let FromAgent::Isolated { drill: told, tried } = sandbox.asked(wanted(drill), None) else { unreachable!() };
        assert_eq!(told, drill);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        tried
    }

    fn busy(what: &str) -> Tried {
        Tried::Busy(what.to_owned())
    }

    fn failed(why: &str) -> Tried {
        Tried::Failed(why.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn one_copy_is_made_for_a_drill_however_often_it_is_asked_for() {
        let engine = Arc::<Slow>::default();
        let mut sandbox = Sandbox::new(Arc::clone(&engine) as Arc<dyn Engine>);
        assert_eq!(ask(&mut sandbox, 7).await, busy("it begins"));
        assert_eq!(ask(&mut sandbox, 7).await, busy("a copy is made"));
        assert_eq!((engine.began.load(SeqCst), engine.cleared.load(SeqCst)), (1, 1), "what was left is removed first");
        engine.goes_on.notify_one();
        ask(&mut sandbox, 7).await;
        assert!(matches!(ask(&mut sandbox, 7).await, Tried::Passed(_)));
        assert_eq!((engine.began.load(SeqCst), engine.cleared.load(SeqCst)), (1, 2), "its own is removed before it is told");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_member_has_to_do_goes_first_and_the_drill_is_told_so() {
        let engine = Arc::<Slow>::default();
        let mut sandbox = Sandbox::new(Arc::clone(&engine) as Arc<dyn Engine>);
        let FromAgent::Isolated { tried, .. } = sandbox.asked(wanted(7), Some("follow".to_owned())) else { unreachable!() };
        assert_eq!(tried, failed("it is at something else: follow"));
        ask(&mut sandbox, 7).await;
        sandbox.give_up("a decision");
        ask(&mut sandbox, 7).await;
        assert_eq!(ask(&mut sandbox, 7).await, failed("it was given up: a decision"), "and it does not begin again");
        assert_eq!((engine.began.load(SeqCst), engine.cleared.load(SeqCst)), (1, 2));
        // Another one begins when nothing of it is left.
        ask(&mut sandbox, 8).await;
        assert_eq!(ask(&mut sandbox, 8).await, busy("a copy is made"));
        assert_eq!((engine.began.load(SeqCst), engine.cleared.load(SeqCst)), (2, 2));
        sandbox.abandon(7);
        assert_eq!(ask(&mut sandbox, 8).await, busy("a copy is made"), "that is another drill");
        sandbox.abandon(8);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!((engine.began.load(SeqCst), engine.cleared.load(SeqCst)), (2, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drill_that_is_over_is_begun_by_no_leader_that_has_not_heard_of_it() {
        let engine = Arc::<Slow>::default();
        let mut sandbox = Sandbox::new(Arc::clone(&engine) as Arc<dyn Engine>);
        let over = failed("it is over: it was abandoned, or another one came after it");
        ask(&mut sandbox, 7).await;
        sandbox.abandon(7);
        for _ in 0..3 {
            assert_eq!(ask(&mut sandbox, 7).await, over);
        }
        sandbox.abandon(8);
        assert_eq!(ask(&mut sandbox, 8).await, over, "it was abandoned before it was asked for here");
        assert_eq!(engine.began.load(SeqCst), 1);
        assert_eq!(ask(&mut sandbox, 9).await, busy("it begins"));
        assert_eq!(ask(&mut sandbox, 7).await, over);
        assert_eq!(ask(&mut sandbox, 9).await, busy("a copy is made"), "nothing of it is disturbed");
        assert_eq!(engine.began.load(SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_any_more_is_given_up() {
        let engine = Arc::<Slow>::default();
        let mut sandbox = Sandbox::new(Arc::clone(&engine) as Arc<dyn Engine>);
        ask(&mut sandbox, 7).await;
        tokio::time::advance(ASKED_WITHIN).await;
        sandbox.look();
        assert_eq!(ask(&mut sandbox, 7).await, busy("a copy is made"), "a leader may be lost for so long");
        tokio::time::advance(ASKED_WITHIN + Duration::from_secs(1)).await;
        sandbox.look();
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!((engine.began.load(SeqCst), engine.cleared.load(SeqCst)), (1, 2));
    }
}
