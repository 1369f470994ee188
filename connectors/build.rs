//! Rebuilds when a migration changes, since they are embedded, and joins the parts of the widget's script.

use std::{env, fs, path::Path};

/// The script is one function in several files.
const WIDGET: &str = "src/widget/assets/widget";
const PARTS: [&str; 12] = [
    "begin.js",
    "words.js",
    "mailbox.js",
    "sending.js",
    "uploads.js",
    "connection.js",
    "style.js",
    "messages.js",
    "media.js",
    "panel.js",
    "listening.js",
    "staying.js",
];

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed={WIDGET}");
    let mut script = String::new();
    for part in PARTS {
        let path = Path::new(WIDGET).join(part);
        let text = fs::read_to_string(&path).expect("every part of the script is there");
        text.lines().filter_map(served).for_each(|line| {
            script.push_str(line);
            script.push('\n');
        });
    }
    let folder = env::var_os("OUT_DIR").expect("cargo names the folder");
    fs::write(Path::new(&folder).join("widget.js"), script).expect("the folder can be written");
}

/// A line as browsers get it: without indentation, and without what is only a comment. Nothing else is touched.
fn served(line: &str) -> Option<&str> {
    let line = line.trim();
    let comment = line.starts_with("//") || (line.starts_with("/**") && line.ends_with("*/"));
    (!line.is_empty() && !comment).then_some(line)
}
