# Boots the kernel /proof/kernel in qemu with the modules of /proof/modules; the console is the job's log.
mkdir -p root/modules
"$COMPILER" -O1 -static -nostdlib -ffreestanding -fno-stack-protector -fno-pie -no-pie -Wall -Werror -o root/init /proof/init.c
cp /proof/modules/* root/modules/
(cd root && find . | sort | cpio -o -H newc --quiet) >initramfs
# The device is there only if a probe has found that it works; where qemu cannot open it, it takes the next accelerator.
ACCELERATORS='-accel tcg,thread=single'
[ ! -e /dev/kvm ] || ACCELERATORS="-accel kvm $ACCELERATORS"
# The kernel's tests of its own cryptography are a quarter of an emulated boot, and say nothing about modules.
boot() {
    local status=0
    timeout "$BOOT_SECONDS" "$QEMU" $MACHINE $ACCELERATORS -m 256 -smp 2 -nographic -nodefaults -serial stdio -no-reboot -nic none \
        -kernel /proof/kernel -initrd initramfs \
        -append "console=$CONSOLE loglevel=5 printk.devkmsg=on panic=-1 oops=panic cryptomgr.notests" </dev/null || status=$?
    echo
    echo "proof: qemu exit $status"
}
boot 2>&1 | tee /out/console
times >times
awk '{ for (field = 1; field <= NF; field++) { split($field, part, /[ms]/); sum += part[1] * 60 + part[2] } }
    END { printf "cpu_seconds %.2f\n", sum }' times >/out/.resources || :
