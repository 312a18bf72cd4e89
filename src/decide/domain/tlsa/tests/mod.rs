//! TLSA records against a simulated zone: tables with exact messages, and properties over any order of events.

mod beside;
mod leaving;
mod property;
mod scene;
mod turning;
mod wrong;
