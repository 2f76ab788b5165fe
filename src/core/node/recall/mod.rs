//! What a node said at an earlier moment: noted while it lives, and told again by the same code.
//!
//! ```text
//! Node --page(what was noted last)--> Page: everything, or what changed since --> disk --> Memory --rebuild(world of that time)--> Recalled
//!                                                                                                                                   why, preview
//! ```
//!
//! A page holds what the reasons and answers of its moment are made of: the table's members, the state of each check, what each vantage point
//! said, orders, and what happened since the page before. Positions are those of the plan that was in force, so another world begins a page
//! that says everything.
//!
//! Invariant: what is recalled from the pages up to one says of any object, and answers to any question, what the node did when it wrote that
//! page.
//!
//! Kept less exactly: counts, outcomes and times of single probes are those of the moment when something else of their check changed, and
//! say so; notices and figures of the whole picture (status) are not kept.
//!
//! Absent on purpose: files, and the plan itself: the caller keeps it beside the pages.

mod note;
mod page;
mod rebuild;

pub use note::Stamp;
pub use page::{FORM, Page};
pub use rebuild::{Memory, Recalled, Unreadable};
