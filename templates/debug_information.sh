# Debug symbols are stripped from what is kept, so none are made. Except where the kernel is there whole: then the
# module's own types are taken from them (BTF), and these stay.
if [ ! -e {{ kernel_folder }}/vmlinux ]; then
    export KCFLAGS=-g0
fi
