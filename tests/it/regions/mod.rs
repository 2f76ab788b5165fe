//! Regions apart: real processes in network namespaces of their own, 80 ms one way from each other, and what happens when nodes, lines and
//! regions are lost.
//!
//! ```text
//!   namespace us-east-1            namespace eu-west-1             namespace ap-southeast-1
//!   portolan x 2, endpoint,        portolan, endpoint,             portolan, endpoint,
//!   clients who ask everybody      clients who ask everybody       clients who ask everybody
//!          | TUN                          | TUN                           | TUN
//!          '------------------------- wan: delay, jitter, loss, cuts -----'
//! ```
//!
//! Every node is the real program, started with a node config and certificates that the program itself has made. All the while clients in every
//! region ask every node; scenarios look at what they were given. Where no namespaces can be made, [`ground`] tells what stands in.

mod beats;
mod cuts;
mod drift;
mod ground;
mod line;
mod lines;
mod load;
mod looks;
mod loss;
mod orders;
mod place;
mod process;
mod rolling;
mod survivor;
mod wan;
mod world;

use crate::daemon::plan::{AP, EU, US};

/// Names of the regions, in the order in which [`place`] numbers them and the plan lists them.
const REGION_NAMES: [&str; place::REGIONS] = [US, EU, AP];
