//! The examples load.

use super::plan::{Options, load};

#[test]
fn the_examples_load() {
    for file in ["plan.yaml", "plan-seed.yaml"] {
        let text = std::fs::read_to_string(format!("config/{file}")).unwrap();
        match load(&text, file, &Options::default()) {
            Ok(loaded) => println!("{}\n{:#?}", loaded.warnings, loaded.topology),
            Err(problems) => panic!("{problems}"),
        }
    }
}
