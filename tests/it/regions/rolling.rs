//! All nodes are restarted, one after the other.

use super::world::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_no_answer_and_no_command() {
    let mut world = World::start(SHORT).await;
    for n in ALL {
        let others: Vec<usize> = ALL.into_iter().filter(|other| *other != n).collect();
        world.load.begin_anew();
        world.ask_to_stop(n);
        // Given first to the one that stops, then to others: whoever takes it, it counts once.
        world.order_anywhere(n).await;
        world.stopped(n).await;
        world.start_node(n).await;
        world.is_whole(&format!("{} is back", NODES[n].name)).await;
        world.order(n).await;
        let seen = world.load.nothing_was_lost(&format!("restart of {}", NODES[n].name), &others).await;
        world.only_moved(&seen, &[]);
    }
    world.answers_are_local("all were restarted", &ALL).await;
    world.nothing_is_lost().await;
}
