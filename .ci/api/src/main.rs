//! Prints the public surface of a crate, one item a line, from the JSON that rustdoc wrote.

use std::{env, error::Error};

use public_api::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    let json = env::args_os().nth(1).ok_or("usage: keyward-api <rustdoc.json>")?;
    let surface = Builder::from_rustdoc_json(json).omit_blanket_impls(true).build()?;
    for item in surface.items() {
        let line = item.to_string();
        if !is_implied(&line) {
            println!("{line}");
        }
    }
    Ok(())
}

/// Returns whether a reader learns nothing from a line: a method that an `impl` line of the standard
/// library's traits implies, a trait that follows from the fields, or `Send` and `Sync` where they
/// hold without a condition. A type that loses one of these two gains a line `impl !Send`.
fn is_implied(line: &str) -> bool {
    const METHODS: [&str; 8] = [
        "::clone(&self) -> ",
        "::cmp(&self, ",
        "::default() -> ",
        "::eq(&self, ",
        "::fmt(&self, &mut core::fmt::Formatter<",
        "::hash<__H: ",
        "::partial_cmp(&self, ",
        "::source(&self) -> ",
    ];
    const TRAITS: [&str; 6] = [
        " core::marker::Freeze for ",
        " core::marker::StructuralPartialEq for ",
        " core::marker::Unpin for ",
        " core::marker::UnsafeUnpin for ",
        "core::panic::unwind_safe::RefUnwindSafe for ",
        "core::panic::unwind_safe::UnwindSafe for ",
    ];
    const EXPECTED: [&str; 2] = [" core::marker::Send for ", " core::marker::Sync for "];
    let has = |part: &&str| line.contains(*part);
    if line.starts_with("impl") {
        TRAITS.iter().any(has) || !line.contains(" where ") && EXPECTED.iter().any(has)
    } else {
        METHODS.iter().any(has)
    }
}
