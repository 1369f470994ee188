//! Tables for people to read, and properties of everything.

mod any;
mod check;
mod properties;
mod table;
