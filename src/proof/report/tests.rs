use super::*;

const AMD64: &str = "BUG: kernel NULL pointer dereference, address: 0000000000000000
#PF: supervisor write access in kernel mode
#PF: error_code(0x0002) - not-present page
PGD 0 P4D 0 
Oops: 0002 [#1] PREEMPT SMP NOPTI
CPU: 0 PID: 1 Comm: init Tainted: G           OE      6.1.0-50-amd64 #1  Debian 6.1.175-1
Hardware name: QEMU Standard PC (i440FX + PIIX, 1996), BIOS 1.16.2-debian-1.16.2-1 04/01/2014
RIP: 0010:falco_init+0x10/0x1000 [falco]
Code: Unable to access opcode bytes at 0xffffffffc0000fe6.
RSP: 0018:ffffaf1a80013d30 EFLAGS: 00010246
RAX: 0000000000000000 RBX: 0000000000000000 RCX: 0000000000000000
RBP: ffffffffffffffff R08: 0000000000000000 R09: ffffaf1a80013be0
R10: 0000000000000003 R11: ffffffff8bad3448 R12: ffff9d9e81b2d9c0
FS:  0000000000000000(0000) GS:ffff9d9e8f600000(0000) knlGS:0000000000000000
CS:  0010 DS: 0000 ES: 0000 CR0: 0000000080050033
CR2: 0000000000000000 CR3: 0000000001e10000 CR4: 00000000000006f0
Call Trace:
 <TASK>
 ? __die_body.cold+0x1a/0x1f
 ? page_fault_oops+0xd2/0x2b0
 do_one_initcall+0x59/0x220
 do_init_module+0x4a/0x1f0
 __do_sys_finit_module+0xac/0x120
 do_syscall_64+0x55/0xb0
RIP: 0033:0x401a2c
RSP: 002b:00007ffd3f4a5d10 EFLAGS: 00000202 ORIG_RAX: 0000000000000139
 </TASK>
Modules linked in: falco(OE+)
---[ end trace 0000000000000000 ]---
RIP: 0010:falco_init+0x10/0x1000 [falco]
Kernel panic - not syncing: Fatal exception";

const ARM64: &str =
    "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000
Mem abort info:
  ESR = 0x0000000096000045
  EC = 0x25: DABT (current EL), IL = 32 bits
  SET = 0, FnV = 0
  EA = 0, S1PTW = 0
  FSC = 0x05: level 1 translation fault
Data abort info:
  ISV = 0, ISS = 0x00000045
  CM = 0, WnR = 1
user pgtable: 4k pages, 48-bit VAs, pgdp=0000000042e5c000
[0000000000000000] pgd=0000000000000000, p4d=0000000000000000
Internal error: Oops: 0000000096000045 [#1] SMP
Modules linked in: falco(OE+)
CPU: 0 PID: 1 Comm: init Tainted: G           OE      6.1.0-50-arm64 #1  Debian 6.1.175-1
Hardware name: linux,dummy-virt (DT)
pstate: 60000005 (nZCv daif -PAN -UAO -TCO -DIT -SSBS BTYPE=--)
pc : falco_init+0x18/0x1000 [falco]
lr : do_one_initcall+0x60/0x2c0
sp : ffff80000a02bb60
x29: ffff80000a02bb60 x28: 0000000000000000 x27: 0000000000000000
x2 : 0000000000000000 x1 : 0000000000000000 x0 : 0000000000000000
Call trace:
 falco_init+0x18/0x1000 [falco]
 do_one_initcall+0x60/0x2c0
 do_init_module+0x50/0x210
Code: 910003fd 52800000 (b900001f) 
---[ end trace 0000000000000000 ]---";

fn report(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    of_lines(&lines, 0)
}

#[test]
fn a_crash_is_shown_by_its_place_and_trace() {
    let amd64 = report(AMD64);
    assert_eq!(
        amd64.lines().map(str::trim).collect::<Vec<_>>(),
        [
            "BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "#PF: supervisor write access in kernel mode",
            "#PF: error_code(0x0002) - not-present page",
            "Oops: 0002 [#1] PREEMPT SMP NOPTI",
            "RIP: 0010:falco_init+0x10/0x1000 [falco]",
            "Call Trace:",
            "do_one_initcall+0x59/0x220",
            "do_init_module+0x4a/0x1f0",
            "__do_sys_finit_module+0xac/0x120",
            "do_syscall_64+0x55/0xb0",
        ]
    );
    assert_eq!(
        headline(&amd64),
        "BUG: kernel NULL pointer dereference, address: 0000000000000000, at falco_init+0x10/0x1000 [falco]"
    );
    let arm64 = report(ARM64);
    assert_eq!(
        arm64.lines().map(str::trim).collect::<Vec<_>>(),
        [
            "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000",
            "Internal error: Oops: 0000000096000045 [#1] SMP",
            "pc : falco_init+0x18/0x1000 [falco]",
            "Call trace:",
            "falco_init+0x18/0x1000 [falco]",
            "do_one_initcall+0x60/0x2c0",
            "do_init_module+0x50/0x210",
        ]
    );
    assert_eq!(
        headline(&arm64),
        "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000, at falco_init+0x18/0x1000 [falco]"
    );
}

#[test]
fn doubtful_functions_are_shown_if_there_are_no_others() {
    let text = "BUG: Bad page state in process init\n? one+0x1/0x2\n? two+0x1/0x2";
    assert_eq!(report(text), text);
    assert_eq!(headline(text), "BUG: Bad page state in process init");
    let null = "BUG: NULL\nRIP: 0010:0x0\nRIP: 0033:0x401a2c";
    assert_eq!(headline(&report(null)), "BUG: NULL, at 0x0");
    assert_eq!(report(null).lines().count(), 2);
}
