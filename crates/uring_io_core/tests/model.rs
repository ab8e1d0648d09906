//! Runs programs of what parties can do at a driver: random ones, and those that the fuzzer found worth keeping.

mod parties;
mod program;

/// xorshift64.
struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 24) as u8
    }
}

#[test]
fn a_driver_hands_out_what_a_simple_model_expects() {
    for seed in 1..=40_u64 {
        for backend in 0..4 {
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut program: Vec<u8> = (0..1500).map(|_| random.byte()).collect();
            program[0] = backend;
            println!("seed {seed}, backend {backend}");
            program::run(&program);
        }
    }
}

#[test]
fn programs_that_were_worth_keeping_go_as_the_model_expects() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/programs");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        program::run(&std::fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 0, "{folder} is empty");
}
