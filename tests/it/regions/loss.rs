//! Nodes and regions that die.

use super::{REGION_NAMES, world::*};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_may_die_then_its_region_and_nothing_is_lost() {
    let mut world = World::start(SHORT).await;
    for n in [US_B, AP_A, EU_A, US_A] {
        let others: Vec<usize> = (0..NODES.len()).filter(|other| *other != n).collect();
        world.order(n).await;
        world.load.take(&[]);
        world.kill(n);
        for other in &others {
            world.order(*other).await;
        }
        world.load.nothing_was_lost(&format!("kill -9 of {}", NODES[n].name), &others);
        world.start_node(n).await;
    }
    world.is_whole("all are back").await;
    world.answers_are_local("after all deaths", &[US_A, EU_A, AP_A, US_B]).await;
    world.nothing_is_lost().await;

    // A whole region: its nodes, then its endpoint.
    world.load.take(&[]);
    world.kill(US_A);
    world.kill(US_B);
    world.sites[0].kill().await;
    let survivors = [EU_A, AP_A];
    for n in survivors {
        world.order(n).await;
    }
    let (eu, ap) = (world.own(1), world.own(2));
    world.answers_are("clients of the lost region are elsewhere, others stay", &survivors, &[eu.clone(), eu.clone(), ap.clone()]).await;
    let seen = world.load.nothing_was_lost(&format!("the loss of {}", REGION_NAMES[0]), &survivors);
    for ((region, address), n) in &seen.addresses {
        assert!(*region == 0 || *address == world.own(*region), "{n} clients of region {region} were sent to {address}");
    }
    let site = &mut world.sites[0];
    let revived = site.address;
    world.sites[0] = world.places[0].run(crate::daemon::site::Site::at(revived)).await;
    world.start_node(US_A).await;
    world.start_node(US_B).await;
    world.is_whole("the region is back").await;
    world.answers_are_local("the region is back", &[US_A, EU_A, AP_A, US_B]).await;
    world.nothing_is_lost().await;
}
