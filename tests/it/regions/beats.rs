//! Heartbeats, pushed at one node.

use super::{REGION_NAMES, world::*};
use crate::daemon::plan::ZONE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_pushed_at_one_node_holds_at_all() {
    let mut world = World::with(SHORT, |mut plan| {
        // Long after the test, so that silence decides nothing.
        plan.more = format!(
            "checks:\n  nightly: {{ type: heartbeat, interval: 1h, fall: 1 }}\nservices:\n  batch: {{ hostnames: [batch.{ZONE}], \
             steering: failover, ttl: {{ min: 1s, max: 5s }}, slow_start: {{ for: 0s }}, endpoints: {{ \
             {}: [{{ address: 192.0.2.1, port: 80, health_checks: {{ use: nightly }} }}], {}: [{{ address: 192.0.2.2, port: 80 }}] }} }}\n",
            REGION_NAMES[0], REGION_NAMES[1]
        );
        plan
    })
    .await;
    world.launch_all().await;
    for n in ALL {
        world.is_ready(n).await;
    }
    world.is_whole("the cluster is made").await;
    // At one that follows: it goes up to a voter, and from there to everybody.
    world.beat(US_B, true).await;
    batch_is(&world, "it passed", "192.0.2.1", &ALL).await;
    world.beat(AP_A, false).await;
    batch_is(&world, "it failed", "192.0.2.2", &ALL).await;
    world.beat(EU_A, true).await;
    batch_is(&world, "it passed again", "192.0.2.1", &ALL).await;

    // Who died knows it afterwards, from its disk or from the others; also what happened meanwhile.
    world.kill(EU_A);
    world.start_node(EU_A).await;
    batch_is(&world, "after a restart", "192.0.2.1", &ALL).await;
    world.kill(EU_A);
    world.beat(US_B, false).await;
    batch_is(&world, "it failed while a node was down", "192.0.2.2", &[US_A, US_B, AP_A]).await;
    world.start_node(EU_A).await;
    batch_is(&world, "the node is back", "192.0.2.2", &ALL).await;
    world.beat(EU_A, true).await;
    batch_is(&world, "it passed at the node that was down", "192.0.2.1", &ALL).await;

    // Who could not be told hears it when the lines are mended.
    world.cut_off(2);
    world.beat(US_A, false).await;
    batch_is(&world, "it failed while a region was cut off", "192.0.2.2", &[US_A, US_B, EU_A]).await;
    world.mend();
    batch_is(&world, "the lines are mended", "192.0.2.2", &ALL).await;
}

/// Waits until these nodes give this address for the name that stands on the heartbeat.
async fn batch_is(world: &World, what: &str, address: &str, nodes: &[usize]) {
    for n in nodes {
        world.answer_of_name_is(what, *n, &format!("batch.{ZONE}"), address).await;
    }
}
