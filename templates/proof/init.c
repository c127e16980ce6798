/* The init program of a proof: loads each module of /modules into the booted kernel, uses it, unloads it, or loads each program
 * of a probe, and prints one line per step into the kernel's log: "proof: <module> <step> <result>". A negative result is an
 * error number.
 *
 * Static and without a C library, for x86-64 and arm64: gcc -static -nostdlib -ffreestanding. */

typedef unsigned long word;

#if defined(__x86_64__)
enum {
    READ = 0, WRITE = 1, CLOSE = 3, LSEEK = 8, MMAP = 9, MUNMAP = 11, IOCTL = 16, GETPID = 39, UNAME = 63, REBOOT = 169, MOUNT = 165, DELETE_MODULE = 176,
    GETDENTS64 = 217, OPENAT = 257, MKDIRAT = 258, PRLIMIT64 = 302, FINIT_MODULE = 313, BPF = 321
};

static long call(long number, word a, word b, word c, word d, word e, word f)
{
    long result;
    register word r10 __asm__("r10") = d;
    register word r8 __asm__("r8") = e;
    register word r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
enum {
    IOCTL = 29, MKDIRAT = 34, MOUNT = 40, OPENAT = 56, CLOSE = 57, GETDENTS64 = 61, LSEEK = 62, READ = 63, WRITE = 64, DELETE_MODULE = 106,
    REBOOT = 142, UNAME = 160, GETPID = 172, MUNMAP = 215, MMAP = 222, PRLIMIT64 = 261, FINIT_MODULE = 273, BPF = 280
};

static long call(long number, word a, word b, word c, word d, word e, word f)
{
    register long x8 __asm__("x8") = number;
    register word x0 __asm__("x0") = a;
    register word x1 __asm__("x1") = b;
    register word x2 __asm__("x2") = c;
    register word x3 __asm__("x3") = d;
    register word x4 __asm__("x4") = e;
    register word x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
#else
#error "expected x86-64 or arm64"
#endif

enum { AT_FDCWD = -100, O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, NONBLOCKING = 04000, PAGE = 4096, CALLS = 1000, ENOEXEC = 8, ENOSYS = 38 };

/* How the device of a Falco driver is used: ppm_events_public.h and ppm_tp.h of the driver. */
enum {
    ENABLE_CAPTURE = 's' << 8 | 1, GET_API_VERSION = 's' << 8 | 24, ENABLE_SYSCALL = 's' << 8 | 29, ENABLE_TRACEPOINT = 's' << 8 | 31,
    SYSCALLS = 512, TRACEPOINTS = 9, BUFFER = 2 * 8 << 20, DEVICES = 16
};

static int kernel_log;

/* Kernels before 6.6 fail to start a program whose writable segment has nothing in the file (EFAULT). */
__attribute__((used)) static int in_the_file = 1;

static word length(const char *text)
{
    word count = 0;
    while (text[count])
        count++;
    return count;
}

static int starts(const char *text, const char *prefix)
{
    while (*prefix)
        if (*text++ != *prefix++)
            return 0;
    return 1;
}

static char *append(char *end, const char *text)
{
    while (*text)
        *end++ = *text++;
    *end = 0;
    return end;
}

static char *append_number(char *end, long number)
{
    char digits[24];
    int count = 0;
    word rest = number < 0 ? -(word)number : (word)number;
    if (number < 0)
        *end++ = '-';
    do
        digits[count++] = '0' + rest % 10;
    while (rest /= 10);
    while (count)
        *end++ = digits[--count];
    *end = 0;
    return end;
}

static long open_file(const char *path, long flags)
{
    return call(OPENAT, AT_FDCWD, (word)path, flags, 0, 0, 0);
}

static void close_file(long file)
{
    call(CLOSE, file, 0, 0, 0, 0, 0);
}

/* Through the kernel's log, as an error: written to the console, a line would be interleaved with the kernel's own, which do
 * not wait for the console's buffer. */
static void say(long module, const char *step, long result)
{
    char line[128];
    char *end = append(line, "<3>proof: ");
    end = append_number(end, module);
    end = append(end, " ");
    end = append(end, step);
    end = append(end, " ");
    end = append_number(end, result);
    end = append(end, "\n");
    call(WRITE, kernel_log, (word)line, end - line, 0, 0, 0);
}

static char content[1 << 16];

/* Reads a file, up to the size of `content` less one. */
static long read_file(const char *path)
{
    long file = open_file(path, O_RDONLY), total = 0, count;
    if (file < 0)
        return file;
    while ((count = call(READ, file, (word)(content + total), sizeof content - 1 - total, 0, 0, 0)) > 0)
        total += count;
    close_file(file);
    content[total] = 0;
    return count < 0 ? count : total;
}

static long taints(void)
{
    long value = 0;
    if (read_file("/proc/sys/kernel/tainted") < 0)
        return -1;
    for (const char *at = content; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (*at - '0');
    return value;
}

/* Whether /proc/modules has a line of the module. */
static int is_loaded(const char *name)
{
    read_file("/proc/modules");
    for (const char *line = content; *line; line++) {
        if (starts(line, name) && line[length(name)] == ' ')
            return 1;
        while (*line && *line != '\n')
            line++;
        if (!*line)
            break;
    }
    return 0;
}

/* Returns the number of entries of a directory whose names start with the prefix, followed by a digit if `is_numbered`. */
static long entries(const char *directory, const char *prefix, int is_numbered)
{
    long folder = open_file(directory, O_RDONLY), count = 0, size;
    if (folder < 0)
        return folder;
    while ((size = call(GETDENTS64, folder, (word)content, sizeof content, 0, 0, 0)) > 0)
        for (char *at = content; at < content + size; at += *(unsigned short *)(at + 16)) {
            const char *name = at + 19, *rest = name + length(prefix);
            if (!starts(name, prefix) || name[0] == '.')
                continue;
            if (is_numbered && !(*rest >= '0' && *rest <= '9'))
                continue;
            count++;
        }
    close_file(folder);
    return count;
}

/* /proc/devices before a module was loaded. */
static char known[1 << 14];
/* The names of the module's devices. */
static char devices[DEVICES][64];

static void remember_devices(void)
{
    long size = read_file("/proc/devices");
    known[0] = 0;
    if (size >= 0 && size < (long)sizeof known)
        append(known, content);
}

/* Whether `known` has a line. */
static int is_known(const char *line, word size)
{
    for (const char *at = known; *at; at++) {
        word same = 0;
        while (same < size && at[same] == line[same])
            same++;
        if (same == size)
            return 1;
        while (*at && *at != '\n')
            at++;
        if (!*at)
            break;
    }
    return 0;
}

/* Returns the number of devices of the driver that appeared in /proc/devices since `remember_devices`, and puts their names into
 * `devices`. New names in /dev alone are not enough: devices of the machine appear while modules are loaded. */
static long find_devices(void)
{
    char prefix[64];
    long count = 0, size;
    prefix[0] = 0;
    read_file("/proc/devices");
    for (const char *line = content; *line;) {
        word length_of_line = 0;
        while (line[length_of_line] && line[length_of_line] != '\n')
            length_of_line++;
        word start = 0;
        while (line[start] == ' ' || (line[start] >= '0' && line[start] <= '9'))
            start++;
        if (start && length_of_line - start < sizeof prefix && !is_known(line, length_of_line)) {
            word end = 0;
            for (; start < length_of_line; start++)
                prefix[end++] = line[start];
            prefix[end] = 0;
            break;
        }
        line += length_of_line;
        if (*line)
            line++;
    }
    if (!prefix[0])
        return 0;
    long folder = open_file("/dev", O_RDONLY);
    if (folder < 0)
        return folder;
    while ((size = call(GETDENTS64, folder, (word)content, sizeof content, 0, 0, 0)) > 0)
        for (char *at = content; at < content + size; at += *(unsigned short *)(at + 16)) {
            const char *name = at + 19, *rest = name + length(prefix);
            if (!starts(name, prefix) || !(*rest >= '0' && *rest <= '9'))
                continue;
            if (count < DEVICES && length(name) < sizeof devices[0])
                append(devices[count], name);
            count++;
        }
    close_file(folder);
    return count;
}

static long cpus(void)
{
    return entries("/sys/devices/system/cpu", "cpu", 1);
}

static int is_error(long result)
{
    return result < 0 && result > -PAGE;
}

/* Opens the devices and maps them as a consumer of events does, makes system calls, and reads how many events the module has
 * written. A device of another kind than Falco's is opened and its first page mapped. */
static void use_devices(long module, long count)
{
    long files[DEVICES], pages[DEVICES], buffers[DEVICES], opened = 0, mapped = 0, events = 0, is_driver = 0;
    word version = 0;
    if (count > DEVICES)
        count = DEVICES;
    for (long device = 0; device < count; device++) {
        char path[80];
        append(append(path, "/dev/"), devices[device]);
        files[device] = open_file(path, O_RDWR | NONBLOCKING);
        pages[device] = buffers[device] = -1;
        if (files[device] < 0) {
            if (!opened)
                opened = files[device];
            continue;
        }
        is_driver |= call(IOCTL, files[device], GET_API_VERSION, (word)&version, 0, 0, 0) == 0 && version;
        /* What the driver counts is in the first page; events are in the buffer, which is mapped twice in a row. */
        pages[device] = call(MMAP, 0, PAGE, 3 /* read and write */, 1 /* shared */, files[device], 0);
        if (is_error(pages[device]) && !mapped)
            mapped = pages[device];
        if (!is_driver)
            continue;
        buffers[device] = call(MMAP, 0, BUFFER, 1 /* read */, 1 /* shared */, files[device], 0);
        if (is_error(buffers[device]) && !mapped)
            mapped = buffers[device];
    }
    say(module, "open", opened);
    say(module, "map", mapped);
    if (is_driver && files[0] >= 0) {
        /* Older drivers know the first, newer ones the others. */
        for (long device = 0; device < count; device++)
            call(IOCTL, files[device], ENABLE_CAPTURE, 0, 0, 0, 0);
        for (long number = 0; number < SYSCALLS; number++)
            call(IOCTL, files[0], ENABLE_SYSCALL, number, 0, 0, 0);
        for (long tracepoint = 0; tracepoint < TRACEPOINTS; tracepoint++)
            call(IOCTL, files[0], ENABLE_TRACEPOINT, tracepoint, 0, 0, 0);
    }
    for (int i = 0; i < CALLS; i++) {
        call(GETPID, 0, 0, 0, 0, 0, 0);
        close_file(open_file("/proc/self/stat", O_RDONLY));
    }
    for (long device = 0; device < count; device++) {
        if (is_driver && !is_error(pages[device]))
            events += ((volatile word *)pages[device])[1];
        if (!is_error(pages[device]))
            call(MUNMAP, pages[device], PAGE, 0, 0, 0, 0);
        if (!is_error(buffers[device]))
            call(MUNMAP, buffers[device], BUFFER, 0, 0, 0, 0);
        if (files[device] >= 0)
            close_file(files[device]);
    }
    if (is_driver)
        say(module, "events", events);
    say(module, "used", CALLS);
}

static void prove(long module, long file, const char *name)
{
    char path[300];
    long before = taints(), result;
    remember_devices();
    say(module, "load", 1);
    result = call(FINIT_MODULE, file, (word) "", 0, 0, 0, 0);
    close_file(file);
    say(module, "loaded", result);
    if (result < 0)
        return;
    say(module, "listed", is_loaded(name));
    append(append(append(path, "/sys/module/"), name), "/parameters");
    result = entries(path, "", 0);
    say(module, "parameters", result < 0 ? 0 : result);
    result = find_devices();
    say(module, "devices", result);
    if (result > 0)
        use_devices(module, result);
    result = call(DELETE_MODULE, (word)name, NONBLOCKING, 0, 0, 0, 0);
    say(module, "unloaded", result);
    say(module, "taints", taints() & ~before);
}

#include "probe.c"

static char name[256];

__attribute__((used)) static void run(void)
{
    call(MKDIRAT, AT_FDCWD, (word) "/dev", 0755, 0, 0, 0);
    call(MKDIRAT, AT_FDCWD, (word) "/proc", 0755, 0, 0, 0);
    call(MKDIRAT, AT_FDCWD, (word) "/sys", 0755, 0, 0, 0);
    call(MOUNT, (word) "dev", (word) "/dev", (word) "devtmpfs", 0, 0, 0);
    call(MOUNT, (word) "proc", (word) "/proc", (word) "proc", 0, 0, 0);
    call(MOUNT, (word) "sys", (word) "/sys", (word) "sysfs", 0, 0, 0);
    kernel_log = open_file("/dev/kmsg", O_WRONLY);
    say(-1, "boot", cpus());
    for (long module = 0;; module++) {
        char path[64];
        char *end = append_number(append(path, "/modules/"), module);
        append(end, ".name");
        long size = read_file(path);
        if (size < 0 || size >= (long)sizeof name)
            break;
        append(name, content);
        append(end, ".bpf");
        long file = open_file(path, O_RDONLY);
        if (file >= 0) {
            prove_probe(module, file);
            continue;
        }
        append(end, ".ko");
        prove(module, open_file(path, O_RDONLY), name);
    }
    say(-1, "end", 0);
    call(REBOOT, 0xfee1dead, 672274793, 0x01234567 /* restart: qemu ends, by -no-reboot */, 0, 0, 0);
    for (;;)
        call(GETPID, 0, 0, 0, 0, 0, 0);
}

#if defined(__x86_64__)
__asm__(".global _start\n_start: xor %ebp, %ebp\n and $-16, %rsp\n call run\n");
#else
__asm__(".global _start\n_start: bl run\n");
#endif

/* gcc calls these, also without a C library. */
void *memset(void *to, int value, word count)
{
    volatile char *at = to;
    while (count--)
        *at++ = value;
    return to;
}

void *memcpy(void *to, const void *from, word count)
{
    volatile char *at = to;
    const char *source = from;
    while (count--)
        *at++ = *source++;
    return to;
}
