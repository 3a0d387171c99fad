// SPDX-License-Identifier: MIT
/*
 * unwind.c - one copied stack, unwound by elfutils' libdw as a core file's would be:
 * memory is the copy, modules are those that the process had mapped, found by name.
 * Without libdw a site is its caller alone.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "watch.h"

#ifdef HMMU_LIBDW
#include <elfutils/libdwfl.h>

#define CACHE 4096u /* frames' texts by address; a power of two */

const bool watch_can_unwind = true;

struct watch_image {
	Dwfl *dwfl;
	pid_t pid;
	bool attached;
	const struct watch_regs *regs; /* of the stack at hand */
	const char *memory;
	uint64_t size;
	struct {
		uint64_t pc;
		const char *text;
	} cache[CACHE];
};

struct walk {
	struct watch_image *image;
	const char **frames;
	unsigned int n, room;
};

/* Names and lines are looked up elsewhere (resolve.c); .eh_frame is in the file itself. */
static int no_debuginfo(Dwfl_Module *mod, void **user, const char *name, Dwarf_Addr base,
			const char *file, const char *link, GElf_Word crc, char **found)
{
	return -1;
}

static const Dwfl_Callbacks callbacks = {
	.find_elf = dwfl_linux_proc_find_elf,
	.find_debuginfo = no_debuginfo,
};

static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread)
{
	struct watch_image *image = arg;

	if (*thread)
		return 0;
	*thread = image;
	return image->pid;
}

static bool read_memory(Dwfl *dwfl, Dwarf_Addr addr, Dwarf_Word *value, void *arg)
{
	struct watch_image *image = arg;
	uint64_t at = addr - image->regs->rsp;

	if (at >= image->size || image->size - at < sizeof(*value))
		return false;
	memcpy(value, image->memory + at, sizeof(*value));
	return true;
}

/* In DWARF's numbering. */
static bool set_registers(Dwfl_Thread *thread, void *arg)
{
	const struct watch_regs *r = ((struct watch_image *)arg)->regs;
	const Dwarf_Word regs[17] = {
		[3] = r->rbx,  [6] = r->rbp,  [7] = r->rsp,  [12] = r->r12,
		[13] = r->r13, [14] = r->r14, [15] = r->r15, [16] = r->rip,
	};

	dwfl_thread_state_register_pc(thread, r->rip);
	return dwfl_thread_state_registers(thread, 0, 17, regs);
}

static const Dwfl_Thread_Callbacks threads = {
	.next_thread = next_thread,
	.memory_read = read_memory,
	.set_initial_registers = set_registers,
};

static bool own_module(const char *name)
{
	return name && strstr(name, "/libhmmu-watch.so");
}

static const char *describe(struct watch_image *image, uint64_t pc)
{
	Dwfl_Module *mod = dwfl_addrmodule(image->dwfl, pc);
	GElf_Addr bias = 0;
	const char *file;
	char text[600];

	if (!mod) {
		snprintf(text, sizeof(text), "0x%" PRIx64 " (no file: made at run time?)", pc);
		return watch_intern(text);
	}
	file = dwfl_module_info(mod, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
	if (own_module(file))
		return NULL;
	dwfl_module_getelf(mod, &bias);
	snprintf(text, sizeof(text), "%.500s\t%" PRIx64, file, pc - bias);
	return watch_intern(text);
}

/* NULL: the module's own. */
static const char *frame_text(struct watch_image *image, uint64_t pc)
{
	uint64_t at = (pc * UINT64_C(0x9e3779b97f4a7c15) >> 40) & (CACHE - 1);

	if (image->cache[at].pc != pc) {
		image->cache[at].text = describe(image, pc);
		image->cache[at].pc = pc;
	}
	return image->cache[at].text;
}

static int take_frame(Dwfl_Frame *frame, void *arg)
{
	struct walk *walk = arg;
	const char *text;
	bool activation;
	Dwarf_Addr pc;

	if (!dwfl_frame_pc(frame, &pc, &activation))
		return DWARF_CB_ABORT;
	/* A return address may be the next function's first byte. */
	text = frame_text(walk->image, activation ? pc : pc - 1);
	if (!text)
		return DWARF_CB_OK; /* a hook may lie between two of libc's frames */
	if (walk->n == walk->room)
		return DWARF_CB_ABORT;
	walk->frames[walk->n++] = text;
	return DWARF_CB_OK;
}

/* Lines of files only: what has none (vdso) would be read from the process. */
static void report_modules(struct watch_image *image, const struct watch_process *p)
{
	char *text = watch_alloc(p->maps_size + 1, 1), *to = text;
	FILE *f;

	for (const char *line = p->maps; *line;) {
		size_t n = strcspn(line, "\n");
		const char *name = memchr(line, '/', n);

		n += line[n] == '\n';
		if (name) {
			memcpy(to, line, n);
			to += n;
		}
		line += n;
	}
	dwfl_report_begin(image->dwfl);
	f = to > text ? fmemopen(text, (size_t)(to - text), "r") : NULL;
	if (f) {
		dwfl_linux_proc_maps_report(image->dwfl, f);
		fclose(f);
	}
	dwfl_report_end(image->dwfl, NULL, NULL);
	free(text);
}

static struct watch_image *image_of(struct watch_process *p)
{
	struct watch_image *image = p->image;

	if (!image) {
		image = watch_alloc(1, sizeof(*image));
		image->dwfl = dwfl_begin(&callbacks);
		image->pid = p->pid;
		p->image = image;
		p->maps_new = p->maps != NULL;
	}
	if (p->maps_new && image->dwfl) {
		memset(image->cache, 0, sizeof(image->cache));
		report_modules(image, p);
		p->maps_new = false;
		if (!image->attached)
			image->attached = dwfl_attach_state(image->dwfl, NULL, image->pid,
							    &threads, image);
	}
	return image;
}

void watch_image_free(struct watch_process *p)
{
	if (!p->image)
		return;
	if (p->image->dwfl)
		dwfl_end(p->image->dwfl);
	free(p->image);
	p->image = NULL;
}

/* The frames, innermost first, at least one. *whole: down to the thread's start. */
unsigned int watch_unwind(struct watch_process *p, const struct watch_stack *stack,
			  const char **frames, unsigned int n, bool *whole)
{
	struct watch_image *image = image_of(p);
	struct walk walk = {.image = image, .frames = frames, .room = n};
	int ret = -1;

	if (stack->copy && image->attached) {
		image->regs = stack->copy;
		image->memory = (const char *)stack->copy + sizeof(*image->regs);
		image->size = stack->size - sizeof(*image->regs);
		ret = dwfl_getthread_frames(image->dwfl, image->pid, take_frame, &walk);
	}
	*whole = ret == 0;
	if (!walk.n && image->dwfl && stack->caller) {
		const char *text = frame_text(image, stack->caller - 1);

		frames[walk.n++] = text ? text : watch_intern("(hmmu watch)");
	}
	if (!walk.n)
		frames[walk.n++] = watch_intern("(its stack could not be unwound)");
	return walk.n;
}

#else

const bool watch_can_unwind = false;

void watch_image_free(struct watch_process *p)
{
}

/* The line of the mappings that @pc is in. */
static bool find_mapping(const struct watch_process *p, uint64_t pc, uint64_t *offset,
			 char *file, size_t size)
{
	const char *line = p->maps;

	while (line && *line) {
		unsigned long start, end, at;
		int name = 0;

		if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %n", &start, &end, &at, &name) == 3 &&
		    pc >= start && pc < end && name) {
			*offset = pc - start + at;
			snprintf(file, size, "%.*s", (int)strcspn(line + name, "\n"),
				 line + name);
			return true;
		}
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return false;
}

unsigned int watch_unwind(struct watch_process *p, const struct watch_stack *stack,
			  const char **frames, unsigned int n, bool *whole)
{
	char file[512], text[640];
	uint64_t offset = 0;

	*whole = false;
	if (find_mapping(p, stack->caller, &offset, file, sizeof(file)))
		snprintf(text, sizeof(text), "%s\t%" PRIx64, file, offset);
	else
		snprintf(text, sizeof(text), "0x%" PRIx64, stack->caller);
	frames[0] = watch_intern(text);
	return 1;
}
#endif
