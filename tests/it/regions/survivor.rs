//! Two of three regions are lost for good: the survivor answers, obeys a person without a majority, goes on when a person says so, and takes back
//! nobody with an old disk.

use portolan::api::proto;

use super::{REGION_NAMES, world::*};
use crate::daemon::eventually;

const LOST: [usize; 2] = [US_A, AP_A];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_three_regions_goes_on_and_refuses_old_disks() {
    let mut world = World::start(SHORT).await;
    for n in ALL {
        world.order(n).await;
    }
    world.nothing_is_lost().await;
    let eu = world.own(1);
    world.load.begin_anew();
    world.lose_region(0).await;
    world.lose_region(2).await;
    eventually("the majority is missed", || world.notices(EU_A), |kinds| kinds.iter().any(|kind| kind == "no_quorum")).await;
    world.order_in_vain(EU_A).await;
    for region in [0, 2] {
        let words = ["drain", "region", REGION_NAMES[region], "--local", "--for", "30m", "--reason", "the region is lost", "--yes"];
        let given = world.run(EU_A, &words).await;
        assert!(given.exit == 0 && given.out.contains("reachable nodes only"), "{given:?}");
    }
    world.answers_are("the survivor obeys", &[EU_A], &[&eu, &eu, &eu]).await;

    let done = world.force_quorum(EU_A, "use1-a,aps1-a").await;
    assert_eq!(done.exit, 0, "{done:?}");
    world.order(EU_A).await;
    let drains = || async {
        let orders = world.overrides(EU_A).await;
        orders.iter().filter(|order| order.kind() == proto::r#override::Kind::Drain && !order.local).count()
    };
    eventually("what was ordered without a majority is agreed", drains, |agreed| *agreed == 2).await;
    world.answers_are("and holds", &[EU_A], &[&eu, &eu, &eu]).await;
    world.load.nothing_was_lost("two of three regions are lost", &[EU_A]).await;

    // Both of the lost come back with their old disks. They would be a majority of what they remember.
    for n in LOST {
        world.start_node(n).await;
    }
    for n in LOST {
        world.order_left_behind(n).await;
        assert_eq!(world.cluster(n).await.generation, 0, "{} learns nothing either", NODES[n].name);
    }
    let cluster = world.cluster(EU_A).await;
    assert_eq!((cluster.generation, cluster.voters), (1, 1), "{cluster:?}");
    world.order(EU_A).await;

    // With empty disks they join as new, and a person lets them vote.
    for n in LOST {
        world.kill(n);
        world.nodes[n].empty_disk();
    }
    world.regain_region(0).await;
    world.regain_region(2).await;
    for n in LOST {
        let name = NODES[n].name;
        let registered = || async { world.members(EU_A).await.iter().filter(|it| it.node == name && it.plan_revision.is_some()).count() };
        eventually(&format!("{name} is registered"), registered, |count| *count == 1).await;
        let added = world.run(EU_A, &["peers", "add", name, "--reason", "new disk", "--yes"]).await;
        assert_eq!(added.exit, 0, "{added:?}");
    }
    world.order(US_A).await;
    for region in [0, 2] {
        world.undrain(EU_A, region).await;
    }
    world.answers_are_local("all regions are back", &ALL).await;
    world.nothing_is_lost().await;
    // The survivor is not needed any more.
    world.kill(EU_A);
    world.order(AP_A).await;
}
