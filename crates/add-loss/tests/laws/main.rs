//! Laws that join the losses with the plugins: heads, R1, weightings. The comparison with reference numbers is in
//! add-parity.

mod backends;
mod heads;
mod objectives;
mod r1_routes;
mod testing;
