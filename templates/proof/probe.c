/* Loads the programs of a probe as libscap does. What the ELF file says was laid out by driverkit-matrix in words of 32 bits:
 *
 *     1, count of maps, count of programs, place of the licence, place of the release (0: none)
 *     for each map: type, key size, value size, entries (0: as many as processors), flags
 *     for each program: type, count of instructions, count of references, place of its name, how many programs are the same,
 *                       for each reference: instruction, map; the instructions
 *
 * or 0 and a text that says why the probe cannot be loaded. Places are counted in bytes from the start. */

enum { MAP_CREATE = 0, PROG_LOAD = 5, MAPS = 64, LOG_SIZE = 0xffffff, LOG_STATS = 4, LOG_LINES = 3, SHOWN = 200 };

typedef unsigned int number;

static long bpf(long command, number *attributes, word size)
{
    return call(BPF, command, (word)attributes, size, 0, 0, 0);
}

static void put_address(number *at, const void *address)
{
    at[0] = (number)(word)address;
    at[1] = (number)((word)address >> 32);
}

static char *append_shown(char *end, const char *text)
{
    for (int count = 0; *text && *text != '\n' && count < SHOWN; count++)
        *end++ = *text++;
    *end = 0;
    return end;
}

/* A line of words for the kernel's log. */
static void tell(const char *first, const char *second, const char *third)
{
    char line[3 * SHOWN + 32];
    char *end = append(line, "<3>bpf: ");
    end = append_shown(end, first);
    end = append_shown(end, second);
    end = append_shown(end, third);
    end = append(end, "\n");
    call(WRITE, kernel_log, (word)line, end - line, 0, 0, 0);
}

/* Whether a line of the verifier's log is about its work, not about the program. */
static int is_complaint(const char *line)
{
    return *line && *line != '\n' && !starts(line, "processed ") && !starts(line, "verification time ") &&
           !starts(line, "stack depth ");
}

/* The last lines of the log: the verifier ends with the first thing that it does not accept. */
static void tell_log(const char *program, const char *log)
{
    const char *kept[LOG_LINES];
    long count = 0;
    for (const char *line = log; *line;) {
        if (is_complaint(line))
            kept[count++ % LOG_LINES] = line;
        while (*line && *line != '\n')
            line++;
        if (*line)
            line++;
    }
    for (long at = count > LOG_LINES ? count - LOG_LINES : 0; at < count; at++)
        tell(program, ": ", kept[at % LOG_LINES]);
    if (!count)
        tell(program, ": the verifier says nothing", "");
}

static long load_program(const number *program, const char *start, const void *instructions)
{
    static char *log;
    number attributes[12] = {program[0], program[1]};
    const char *licence = start + ((const number *)start)[3];
    put_address(attributes + 2, instructions);
    put_address(attributes + 4, licence);
    long result = bpf(PROG_LOAD, attributes, sizeof attributes);
    if (result >= 0 || result == -ENOSYS)
        return result;
    /* Once more, for the log: without it a program that is accepted costs less. Statistics alone keep the trace of all
     * instructions out of it, where the kernel knows them (5.2). */
    if (!log)
        log = (char *)call(MMAP, 0, LOG_SIZE, 3, 0x22 /* private, without a file */, -1, 0);
    if ((long)log < 0 && (long)log > -PAGE) {
        log = 0;
        return result;
    }
    log[0] = 0;
    attributes[6] = LOG_STATS;
    attributes[7] = LOG_SIZE;
    put_address(attributes + 8, log);
    long again = bpf(PROG_LOAD, attributes, sizeof attributes);
    if (again >= 0)
        return again;
    tell_log(start + program[3], log);
    return result;
}

static int is_for_this_kernel(const char *release)
{
    char names[6 * 65];
    if (call(UNAME, (word)names, 0, 0, 0, 0, 0) < 0)
        return 0;
    const char *running = names + 2 * 65;
    if (length(running) == length(release) && starts(running, release))
        return 1;
    tell("it was compiled for ", release, "");
    tell("the kernel is ", running, "");
    return 0;
}

/* Returns 0, or the first error. */
static long load_probe(long module, char *start)
{
    number *at = (number *)start + 5, maps = at[-4], programs = at[-3], all = 0, refused = 0;
    long files[MAPS], result = 0, processors = cpus();
    word unlimited[2] = {~0UL, ~0UL};
    if (at[-1] && !is_for_this_kernel(start + at[-1]))
        return -ENOEXEC;
    /* Kernels before 5.11 count maps as locked memory. */
    call(PRLIMIT64, 0, 8 /* locked memory */, (word)unlimited, 0, 0, 0);
    for (number map = 0; map < maps; map++, at += 5) {
        number attributes[5] = {at[0], at[1], at[2], at[3] ? at[3] : (number)processors, at[4]};
        files[map] = bpf(MAP_CREATE, attributes, sizeof attributes);
        if (files[map] < 0) {
            if (files[map] != -ENOSYS)
                tell("a map cannot be made", "", "");
            return files[map];
        }
    }
    say(module, "maps", maps);
    for (number program = 0; program < programs; program++) {
        number *head = at, *reference = at + 5;
        char *instructions = (char *)(reference + 2 * head[2]);
        for (; (char *)reference < instructions; reference += 2)
            *(number *)(instructions + 8 * reference[0] + 4) = files[reference[1]];
        long loaded = load_program(head, start, instructions);
        if (loaded < 0 && !result)
            result = loaded;
        all += head[4];
        if (loaded < 0)
            refused += head[4];
        else
            close_file(loaded);
        at = (number *)(instructions + 8 * (word)head[1]);
        if (loaded == -ENOSYS)
            break;
    }
    for (number map = 0; map < maps; map++)
        close_file(files[map]);
    say(module, "programs", all);
    say(module, "refused", refused);
    return result;
}

static void prove_probe(long module, long file)
{
    say(module, "load", 1);
    say(module, "probe", 1);
    long size = call(LSEEK, file, 0, 2 /* the end */, 0, 0, 0);
    long start = size < 0 ? size : call(MMAP, 0, size, 3 /* read and write */, 2 /* private */, file, 0);
    close_file(file);
    if (start < 0 && start > -PAGE) {
        say(module, "loaded", start);
        return;
    }
    if (!*(number *)start) {
        tell((char *)start + sizeof(number), "", "");
        say(module, "unknown", 1);
        return;
    }
    say(module, "loaded", load_probe(module, (char *)start));
    call(MUNMAP, start, size, 0, 0, 0, 0);
}
