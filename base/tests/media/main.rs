//! The media store on a real folder: bounded, whole or nothing, and full disks.

mod keeping;
mod serving;
mod support;
