//! The order of the rooms: reads every path to another module in `src/` and fails on an import of a
//! lower room, on an import through the crate root, and on a circle between files where files are to
//! have an order.
//!
//! Test modules are free to import what they need. The checker itself is tested on planted sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// The rooms in order. A room imports only from rooms before it.
const ROOMS: [&str; 16] = [
    "error", "text", "sync", "clock", "quota", "key", "store", "verify", "limit", "usage",
    "request", "audit", "issue", "gate", "testing", "guide",
];

/// Rooms whose files have an order too. Those of `store` and `testing` have none: their `mod.rs` defines
/// the traits that their files use.
const ORDERED_ROOMS: [&str; 10] =
    ["clock", "quota", "key", "verify", "limit", "usage", "request", "audit", "issue", "gate"];

#[test]
fn rooms_import_only_from_rooms_above_them() {
    let sources = read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path());
    assert!(sources.len() > 50, "only {} files were read", sources.len());
    let lines = order_of_rooms(&sources);
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}

#[test]
fn files_within_a_room_import_in_no_circle() {
    let sources = read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path());
    let mut lines = Vec::new();
    for room in ORDERED_ROOMS {
        let files: Vec<_> =
            sources.iter().filter(|source| source.room() == Some(room)).cloned().collect();
        assert!(files.len() > 1, "{room} has no files");
        lines.extend(circles(&files));
    }
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}

/// A caller learns the error types one by one, so their number has a bound.
#[test]
fn the_core_has_at_most_16_public_error_types() {
    let sources = read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path());
    let found: BTreeSet<_> = sources.iter().flat_map(|source| error_types(&source.text)).collect();
    assert!(found.contains("ConfigError") && found.contains("VerifyError"), "{found:?}");
    assert!(found.len() <= 16, "{}: {found:?}", found.len());
}

#[test]
fn only_one_file_names_a_crate_of_locks() {
    let sources = read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path());
    let names_locks = |source: &&Source| {
        let mut lines = source.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.any(|line| {
            ["parking_lot::", "spin::", "loom::"].iter().any(|name| line.contains(name))
        })
    };
    let found: Vec<_> = sources.iter().filter(names_locks).map(|source| &source.name[..]).collect();
    assert_eq!(found, ["sync.rs"]);
}

/// Returns whether a default calls a method of `self`.
fn calls_itself(default: Option<&syn::Block>) -> bool {
    struct Calls(bool);
    impl<'ast> Visit<'ast> for Calls {
        fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
            self.0 |= matches!(&*call.receiver, syn::Expr::Path(it) if it.path.is_ident("self"));
            visit::visit_expr_method_call(self, call);
        }
    }
    let mut calls = Calls(false);
    if let Some(block) = default {
        calls.visit_block(block);
    }
    calls.0
}

/// A method with a default would compile without a twin, and a store behind a pointer or chosen at run
/// time would silently run the default.
#[test]
fn stores_behind_pointers_and_chosen_at_run_time_have_every_method() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let file = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let parsed = syn::parse_file(&file("mod.rs")).unwrap();
    let methods: Vec<String> = parsed
        .items
        .iter()
        .filter_map(|item| match item {
            syn::Item::Trait(it) if it.ident == "KeyStore" || it.ident == "KeyRegistry" => Some(it),
            _ => None,
        })
        .flat_map(|it| &it.items)
        .filter_map(|item| match item {
            // What calls another method of the store needs no twin.
            syn::TraitItem::Fn(it) if !calls_itself(it.default.as_ref()) => {
                Some(it.sig.ident.to_string())
            }
            _ => None,
        })
        .collect();
    assert!(methods.len() >= 15 && methods.contains(&"remove_owner".to_owned()), "{methods:?}");
    let (pointer, chosen) = (file("pointer.rs"), file("dyn_store.rs"));
    for method in methods {
        assert!(pointer.contains(&format!("(**self).{method}(")), "a pointer has no {method}");
        assert!(chosen.contains(&format!("self.{method}(")), "no twin calls {method}");
        let forwards = ["boxed", "dyn"].map(|kind| format!("self.{method}_{kind}("));
        assert!(forwards.iter().any(|twin| chosen.contains(twin)), "{method} has no twin");
    }
}

#[test]
fn files_of_adapters_import_in_no_circle() {
    for adapter in ["redis", "tower"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("adapters").join(adapter).join("src");
        let sources = read(&root);
        assert!(sources.len() > 5, "{adapter}: only {} files were read", sources.len());
        let lines = circles(&sources);
        assert!(lines.is_empty(), "{adapter}:\n{}", lines.join("\n"));
    }
}

/// A source file and the module that it is.
#[derive(Clone, Debug)]
struct Source {
    name: String,
    module: Vec<String>,
    text: String,
}

impl Source {
    /// Builds a source from its path below `src/`.
    fn new(name: &str, text: &str) -> Self {
        let path = name.strip_suffix(".rs").unwrap_or(name);
        let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod" || last == "lib") {
            module.pop();
        }
        Self { name: name.to_owned(), module, text: text.to_owned() }
    }

    fn room(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }

    /// Returns every path to a module of the same crate, from its root.
    fn imports(&self) -> BTreeSet<Vec<String>> {
        let file = syn::parse_file(&self.text)
            .unwrap_or_else(|error| panic!("{} is no Rust source: {error}", self.name));
        let mut imports = Imports { module: self.module.clone(), ..Imports::default() };
        imports.children.push(children(&file.items));
        imports.visit_file(&file);
        imports.found
    }
}

/// The public types of a file that implement `Error`, by derive or by hand.
fn error_types(text: &str) -> BTreeSet<String> {
    let (mut public, mut errors) = (BTreeSet::new(), BTreeSet::new());
    for item in syn::parse_file(text).unwrap().items {
        let (name, visibility, attributes) = match &item {
            syn::Item::Enum(item) => (item.ident.to_string(), &item.vis, &item.attrs),
            syn::Item::Struct(item) => (item.ident.to_string(), &item.vis, &item.attrs),
            syn::Item::Impl(item) => {
                let implements = item.trait_.as_ref().and_then(|(path, _)| path.segments.last());
                if implements.is_some_and(|last| last.ident == "Error")
                    && let syn::Type::Path(of) = &*item.self_ty
                {
                    errors.extend(of.path.segments.last().map(|last| last.ident.to_string()));
                }
                continue;
            }
            _ => continue,
        };
        if matches!(visibility, syn::Visibility::Public(_)) {
            public.insert(name.clone());
        }
        let derives = attributes.iter().filter(|attribute| attribute.path().is_ident("derive"));
        let list = derives.filter_map(|derive| derive.meta.require_list().ok());
        if list.flat_map(|list| list.tokens.clone()).any(|token| token.to_string() == "Error") {
            errors.insert(name);
        }
    }
    public.intersection(&errors).cloned().collect()
}

#[test]
fn error_types_are_found_however_they_are_written() {
    let text = "#[derive(Debug, thiserror::Error)] pub enum A {} pub struct B; impl Error for B {} \
                struct Private; impl std::error::Error for Private {} pub struct NoError;";
    assert_eq!(error_types(text), BTreeSet::from(["A".to_owned(), "B".to_owned()]));
}

/// Reads all sources below a directory.
fn read(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                sources.push(Source::new(&name, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources.sort_by(|one, other| one.name.cmp(&other.name));
    sources
}

/// Returns the imports that break the order of the rooms.
fn order_of_rooms(sources: &[Source]) -> Vec<String> {
    let macros: BTreeSet<String> = sources.iter().flat_map(exported_macros).collect();
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut lines = Vec::new();
    for source in sources {
        // The root declares all rooms and re-exports from them.
        let Some(room) = source.room() else { continue };
        let Some(here) = place(room) else {
            lines.push(format!("{} is in no room: name it in ROOMS", source.name));
            continue;
        };
        for path in source.imports() {
            let (first, shown) = (path.first().map_or("", String::as_str), path.join("::"));
            match place(first) {
                Some(there) if there > here => {
                    lines.push(format!("{} imports crate::{shown} of a lower room", source.name))
                }
                Some(_) => {}
                None if macros.contains(first) => {}
                None => {
                    lines.push(format!("{} imports crate::{shown} through the root", source.name));
                }
            }
        }
    }
    lines
}

/// Returns the circles of files that import one another, the smallest sets first.
fn circles(sources: &[Source]) -> Vec<String> {
    let modules: BTreeMap<&[String], usize> =
        sources.iter().enumerate().map(|(at, source)| (&source.module[..], at)).collect();
    // The file of a path is that of its longest beginning that is a module.
    let file_of =
        |path: &[String]| (0..=path.len()).rev().find_map(|len| modules.get(&path[..len]).copied());
    let edges: Vec<BTreeSet<usize>> = sources
        .iter()
        .enumerate()
        .map(|(at, source)| {
            source
                .imports()
                .iter()
                .filter_map(|path| file_of(path))
                .filter(|to| *to != at)
                .collect()
        })
        .collect();
    let reachable: Vec<BTreeSet<usize>> = (0..sources.len())
        .map(|start| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
            while let Some(at) = next.pop() {
                next.extend(edges[at].iter().filter(|to| seen.insert(**to)));
            }
            seen
        })
        .collect();
    let mut found: BTreeSet<Vec<&str>> = BTreeSet::new();
    for at in 0..sources.len() {
        if reachable[at].contains(&at) {
            let circle = reachable[at].iter().filter(|to| reachable[**to].contains(&at));
            found.insert(circle.map(|to| &sources[*to].name[..]).collect());
        }
    }
    let mut lines: Vec<_> =
        found.iter().map(|circle| (circle.len(), circle.join(" <-> "))).collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| format!("circle: {line}")).collect()
}

/// The names of the macros that a file exports at the root, where `macro_export` puts them.
fn exported_macros(source: &Source) -> Vec<String> {
    let file = syn::parse_file(&source.text).unwrap();
    let exported = file.items.iter().filter_map(|item| match item {
        syn::Item::Macro(item) if has_attribute(&item.attrs, "macro_export") => item.ident.as_ref(),
        _ => None,
    });
    exported.map(ToString::to_string).collect()
}

fn has_attribute(attributes: &[syn::Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident(name))
}

/// Whether an item exists only in tests.
fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string().replace(' ', "");
            condition == "test" || condition.starts_with("all(test,")
        }
        _ => false,
    })
}

/// The names of the modules that are declared among these items.
fn children(items: &[syn::Item]) -> BTreeSet<String> {
    let modules = items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) => Some(module.ident.to_string()),
        _ => None,
    });
    modules.collect()
}

/// Collects the paths to modules of the same crate.
#[derive(Default)]
struct Imports {
    module: Vec<String>,
    /// The modules declared in the present module and in those around it.
    children: Vec<BTreeSet<String>>,
    found: BTreeSet<Vec<String>>,
}

impl Imports {
    /// Takes a path that begins with `crate`, `self` or `super`; others lead to other crates.
    fn add(&mut self, path: &[String]) {
        let mut from = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.module.clone(),
            _ => return,
        };
        for segment in path {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => {
                    from.pop();
                }
                name => from.push(name.to_owned()),
            }
        }
        self.found.insert(from);
    }

    fn add_tree(&mut self, before: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.add_tree(before, &path.tree);
                before.pop();
            }
            syn::UseTree::Name(syn::UseName { ident, .. })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                before.push(ident.to_string());
                self.add(before);
                before.pop();
            }
            syn::UseTree::Glob(_) => self.add(before),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(before, tree);
                }
            }
        }
    }

    /// Finds paths that begin with `crate` in the tokens of a macro or an attribute, which are no
    /// syntax that could be visited. Literals, and with them documentation, are no paths.
    fn add_tokens(&mut self, tokens: &TokenStream) {
        let mut path = Vec::new();
        let mut colons = 0;
        for token in tokens.clone() {
            match &token {
                TokenTree::Ident(ident) if ident == "crate" => {
                    self.add_found(&mut path);
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => {
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                    colons += 1
                }
                _ => {
                    self.add_found(&mut path);
                    colons = 0;
                }
            }
            if let TokenTree::Group(group) = token {
                self.add_tokens(&group.stream());
            }
        }
        self.add_found(&mut path);
    }

    fn add_found(&mut self, path: &mut Vec<String>) {
        if path.len() > 1 {
            self.add(path);
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes: &[syn::Attribute] = match item {
            syn::Item::Const(item) => &item.attrs,
            syn::Item::Enum(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Macro(item) => &item.attrs,
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Static(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            syn::Item::Trait(item) => &item.attrs,
            syn::Item::Type(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            _ => &[],
        };
        if !is_test_only(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let Some((_, items)) = &item.content else { return };
        self.module.push(item.ident.to_string());
        self.children.push(children(items));
        visit::visit_item_mod(self, item);
        self.children.pop();
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_some() {
            return;
        }
        // `use child::Name` is `use self::child::Name`.
        let mut first = BTreeSet::new();
        match &item.tree {
            syn::UseTree::Path(path) => drop(first.insert(path.ident.to_string())),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    if let syn::UseTree::Path(path) = tree {
                        first.insert(path.ident.to_string());
                    }
                }
            }
            _ => {}
        }
        let declared = self.children.last().is_some_and(|known| !first.is_disjoint(known));
        self.add_tree(&mut Vec::new(), &item.tree);
        if declared {
            self.add_tree(&mut vec!["self".to_owned()], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let segments: Vec<_> =
                path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.add(&segments);
        }
        visit::visit_path(self, path);
    }

    /// `pub(in crate::room)` imports nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.add_tokens(&item.tokens);
        visit::visit_macro(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        // Documentation is text: its links may lead anywhere.
        if let syn::Meta::List(list) = &attribute.meta {
            self.add_tokens(&list.tokens);
        }
    }
}

/// The checker on planted sources.
mod planted {
    use super::{Source, circles, order_of_rooms};

    fn sources(files: &[(&str, &str)]) -> Vec<Source> {
        files.iter().map(|(name, text)| Source::new(name, text)).collect()
    }

    fn lines(text: &str) -> Vec<String> {
        order_of_rooms(&sources(&[("limit/table/book.rs", text)]))
    }

    const LOWER: &str = "limit/table/book.rs imports crate::gate::pipeline::Gate of a lower room";

    #[test]
    fn a_lower_room_is_found_however_it_is_written() {
        for text in [
            "use crate::gate::pipeline::Gate;",
            "pub use crate::gate::pipeline::Gate;",
            "pub(crate) use crate::gate::pipeline::Gate as Door;",
            "use crate::{key::id::KeyId, gate::{pipeline::Gate}};",
            "use crate::{\n    clock::timestamp::Timestamp,\n    gate::{\n        pipeline::{\n            Gate,\n        },\n    },\n};",
            "use super::super::super::gate::pipeline::Gate;",
            "use super::{super::super::gate::pipeline::Gate, tracked::Tracked};",
            "fn decide() { use crate::gate::pipeline::Gate; }",
            "fn decide(gate: &crate::gate::pipeline::Gate) {}",
            "impl From<crate::gate::pipeline::Gate> for u8 {}",
            "fn text() -> String { format!(\"{:?}\", crate::gate::pipeline::Gate) }",
            "#[derive(Error)]\n#[error(\"{}\", crate::gate::pipeline::Gate)]\nstruct Failed;",
            "mod inner { use super::super::super::super::gate::pipeline::Gate; }",
            "#[cfg(not(all(test, keyward_loom)))]\nmod inner { use crate::gate::pipeline::Gate; }",
            "#[cfg(feature = \"serde\")]\nuse crate::gate::pipeline::Gate;",
        ] {
            assert_eq!(lines(text), [LOWER], "{text}");
        }
        assert_eq!(
            lines("use crate::gate::*;"),
            ["limit/table/book.rs imports crate::gate of a lower room"]
        );
    }

    #[test]
    fn an_import_through_the_root_is_found() {
        for text in [
            "use crate::Gate;",
            "use crate::{key::id::KeyId, Gate};",
            "pub use crate::Gate as Door;",
            "use super::super::super::Gate;",
            "fn decide(gate: &crate::Gate) {}",
        ] {
            let expected = "limit/table/book.rs imports crate::Gate through the root";
            assert_eq!(lines(text), [expected], "{text}");
        }
        assert_eq!(
            lines("use crate::*;"),
            ["limit/table/book.rs imports crate:: through the root"]
        );
    }

    #[test]
    fn what_is_allowed_is_not_reported() {
        for text in [
            "use std::sync::Arc;",
            "use ::gate::Gate;",
            "use gate::Gate;",
            "use crate::{clock::timestamp::Timestamp, limit::key::LimitKey, quota::{Quota, Quotas}};",
            "use super::tracked::Tracked;",
            "pub(in crate::limit) fn check() {}",
            "/// See [`Gate`](crate::gate::Gate).\nfn check() {}",
            "each! {\n/// See [`Gate`](crate::gate::Gate).\nfn check() { \"crate::Gate\" } }",
            "#[cfg(test)]\nmod tests { use crate::gate::pipeline::Gate; }",
            "#[cfg(all(test, keyward_loom))]\nmod model_checks { use crate::gate::pipeline::Gate; }",
        ] {
            assert_eq!(lines(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn the_root_is_free_and_an_unknown_room_is_reported() {
        let files = [
            ("lib.rs", "pub use self::gate::Gate;\npub use key::KeyId;\nmod gate;\nmod key;"),
            ("cellar.rs", ""),
        ];
        let expected = "cellar.rs is in no room: name it in ROOMS";
        assert_eq!(order_of_rooms(&sources(&files)), [expected]);
    }

    #[test]
    fn exported_macros_are_used_through_the_root() {
        let text = "#[macro_export]\nmacro_rules! each { () => { $crate::each!(@ok) }; }\n\
                    fn run() { crate::each!(); $crate_of(); }";
        let text = text.replace(" $crate_of();", "");
        assert_eq!(order_of_rooms(&sources(&[("testing/mod.rs", &text)])), [""; 0]);
        assert_eq!(
            lines("macro_rules! inner { () => { $crate::gate::pipeline::Gate }; }"),
            [LOWER]
        );
    }

    #[test]
    fn circles_are_found_of_any_length_and_through_the_room_itself() {
        for (files, expected) in [
            (
                &[
                    ("gate/a.rs", "use crate::gate::b::B;"),
                    ("gate/b.rs", "use crate::gate::{a::A, c::C};"),
                    ("gate/c.rs", ""),
                ][..],
                &["circle: gate/a.rs <-> gate/b.rs"][..],
            ),
            (
                &[
                    ("gate/a.rs", "use super::b::B;"),
                    ("gate/b.rs", "fn b() { super::c::c() }"),
                    ("gate/c.rs", "pub use super::{\n    a::{A, B},\n};"),
                ],
                &["circle: gate/a.rs <-> gate/b.rs <-> gate/c.rs"],
            ),
            // An import through the room's own re-exports.
            (
                &[
                    ("gate/mod.rs", "mod a;\nmod b;\npub use self::{a::A, b::B};"),
                    ("gate/a.rs", "use crate::gate::B;"),
                    ("gate/b.rs", ""),
                ],
                &["circle: gate/mod.rs <-> gate/a.rs"],
            ),
            (
                &[("gate/mod.rs", "mod a;\npub use a::A;"), ("gate/a.rs", "use super::B;")],
                &["circle: gate/mod.rs <-> gate/a.rs"],
            ),
            // Two circles are two lines.
            (
                &[
                    ("a.rs", "use crate::b::B;"),
                    ("b.rs", "use crate::a::A;"),
                    ("c.rs", "use crate::{a::A, d::D};"),
                    ("d.rs", "use crate::c::C;"),
                ],
                &["circle: a.rs <-> b.rs", "circle: c.rs <-> d.rs"],
            ),
            // A file that only its test module leads back to another is in no circle.
            (
                &[
                    ("gate/mod.rs", "mod a;\nmod b;\npub use self::{a::A, b::B};"),
                    ("gate/a.rs", "use crate::gate::b::B;"),
                    ("gate/b.rs", "#[cfg(test)]\nmod tests { use crate::gate::a::A; }"),
                ],
                &[],
            ),
        ] {
            assert_eq!(circles(&sources(files)), expected, "{files:?}");
        }
    }
}
