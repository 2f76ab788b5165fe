//! What is known of places with nothing installed: the continent of every registered address block, and rough centres.

mod countries;
mod registries;

pub use countries::{Country, continent_centre, country, is_continent};
pub use registries::{look_up, networks};
