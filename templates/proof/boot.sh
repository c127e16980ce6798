# Boots the kernel /proof/kernel in qemu with the modules of /proof/modules; the console is the job's log.
mkdir -p root/modules
"$COMPILER" -O1 -static -nostdlib -ffreestanding -fno-stack-protector -fno-pie -no-pie -Wall -Werror -o root/init /proof/init.c
cp /proof/modules/* root/modules/
(cd root && find . | sort | cpio -o -H newc --quiet) >initramfs
# Never with KVM: on some machines the device exists and hangs.
boot() {
    local status=0
    timeout "$BOOT_SECONDS" "$QEMU" $MACHINE -accel tcg,thread=single -m 256 -smp 2 -nographic -nodefaults -serial stdio -no-reboot -nic none \
        -kernel /proof/kernel -initrd initramfs \
        -append "console=$CONSOLE loglevel=5 printk.devkmsg=on panic=-1 oops=panic" </dev/null || status=$?
    echo
    echo "proof: qemu exit $status"
}
boot 2>&1 | tee /out/console
