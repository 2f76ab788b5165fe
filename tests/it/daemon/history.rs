//! What a node says of its own past: `why --at` and `dns query --at`, while it runs and after a restart.

use portolan::client::{ClientError, ClientNetwork};
use portolan_core::{
    model::time::Timestamp,
    node::report::{Moment, Why},
};

use super::{
    Bed, Files, eventually,
    plan::{API, EU},
    three_sites,
};

impl Bed {
    /// Why `object` was as it was at `at`.
    async fn why_at(&self, object: &str, at: Timestamp) -> Result<Why, ClientError> {
        self.client().await.why(object, Some(at)).await
    }

    /// The reasons as they were at the moment that a picture of the status shows.
    async fn now(&self) -> Timestamp {
        self.status().await.at
    }

    /// Waits until the history holds `text` in the reasons for eu-west-1, and gives the moment.
    async fn noted(&self, text: &str) -> (Timestamp, Why) {
        let look = || async {
            let at = self.now().await;
            (at, self.why_at(EU, at).await.ok())
        };
        let holds = |(_, why): &(Timestamp, Option<Why>)| why.as_ref().is_some_and(|why| why.reason.render().contains(text));
        let (at, why) = eventually(&format!("the history says `{text}`"), look, holds).await;
        (at, why.unwrap())
    }

    /// The region that a client of eu-west-1 was answered with.
    async fn answered_at(&self, at: Timestamp) -> (String, Moment) {
        let network: ClientNetwork = "127.2.7.0/24".parse().unwrap();
        let preview =
            self.client().await.preview(&API.parse().unwrap(), "A".parse().unwrap(), Some(network), None, Some(at)).await.unwrap();
        (preview.region.unwrap(), preview.moment.unwrap())
    }
}

fn refusal(outcome: Result<Why, ClientError>) -> (String, String) {
    match outcome {
        Err(ClientError::Refused(refusal)) => (refusal.reason, refusal.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_died_and_returned_is_told_as_it_was_also_after_a_restart() {
    let (plan, mut sites) = three_sites().await;
    let bed = Files::new(&plan.text(1)).with_state().start().await;
    bed.ready().await;
    let (well, _) = bed.noted("2 of 2 endpoints are up").await;
    sites[1].kill().await;
    let (dead, then) = bed.noted("0 of 2 endpoints are up").await;
    // What the node says now, while nothing changes, is what the history tells of now.
    let live = bed.why(EU).await;
    sites[1].revive().await;
    let (back, _) = bed.noted("2 of 2 endpoints are up").await;
    assert!(then.reason.render().contains("DOWN") && then.reason.render().contains("connect"), "{}", then.reason.render());
    assert_eq!(then.reason.render().lines().next(), live.lines().next());
    assert!(then.history.iter().any(|it| it.text == format!("region {EU} has no endpoint in rotation any more")), "{:?}", then.history);
    let moment = then.moment.unwrap();
    assert_eq!((moment.node.as_str(), moment.asked, moment.notes.len()), ("use1-a", dead, 0), "{:?}", moment.notes);
    assert!(then.at <= dead);

    let check = |bed: Bed| async move {
        let first_line = |why: Why| why.reason.render().lines().next().unwrap().to_owned();
        for (at, count) in [(well, 2), (dead, 0), (back, 2)] {
            let why = bed.why_at(EU, at).await.unwrap();
            assert!(first_line(why).contains(&format!("region {EU}: {count} of 2 endpoints are up")));
            let (region, _) = bed.answered_at(at).await;
            assert_eq!(region == EU, count == 2, "answered with {region}");
        }
        let (reason, message) = refusal(bed.why_at(EU, Timestamp(well.0 - 3_600_000)).await);
        assert_eq!(reason, "HISTORY_OUT_OF_RANGE", "{message}");
        assert!(message.contains("it begins at "), "{message}");
        let (reason, message) = refusal(bed.why_at(EU, Timestamp(back.0 + 3_600_000)).await);
        assert!(reason == "HISTORY_OUT_OF_RANGE" && message.contains("has not come yet"), "{message}");
        assert_eq!(refusal(bed.why_at("no-such-thing", dead).await).0, "UNKNOWN_OBJECT");
        bed
    };
    let bed = check(bed).await;
    let stopped = bed.now().await;
    let bed = bed.stop().await.start().await;
    bed.ready().await;
    let bed = check(bed).await;
    // Between the two runs it says that there was none.
    let at = bed.why_at(EU, Timestamp(stopped.0)).await.unwrap();
    assert!(at.reason.render().contains("2 of 2 endpoints are up"));
    bed.stop().await;
}

/// Another plan by now: the past is told in the world of its own time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_of_an_earlier_plan_is_told_by_that_plan() {
    let (mut plan, _sites) = three_sites().await;
    let bed = Files::new(&plan.text(1)).with_state().start().await;
    bed.ready().await;
    let (before, _) = bed.noted("2 of 2 endpoints are up").await;
    plan.service = "steering: failover, ttl: { min: 1s, max: 5s }".to_owned();
    bed.files.replace("plan.yaml", plan.text(2));
    eventually("revision 2 is in force", || bed.revision(), |revision| revision == "2").await;
    let steering = |why: Why| why.reason.render().contains("steering failover");
    let is_noted = || async { steering(bed.why_at("api", bed.now().await).await.unwrap()) };
    eventually("the history has revision 2", is_noted, |is_noted| *is_noted).await;
    assert!(!steering(bed.why_at("api", before).await.unwrap()), "it was another preset then");
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_data_directory_keeps_none_and_says_so() {
    let (plan, _sites) = three_sites().await;
    let bed = Bed::start(&plan).await;
    let (reason, message) = refusal(bed.why_at(EU, bed.now().await).await);
    assert!(reason == "NO_HISTORY" && message.contains("data_dir"), "{message}");
}
