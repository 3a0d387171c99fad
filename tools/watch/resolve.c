// SPDX-License-Identifier: MIT
/*
 * resolve.c - a frame as it is shown: "function (file.c:12) program" where there is debug
 * information, "function+0x1f libfoo.so" where there is none.
 *
 * Only what is shown is resolved, many frames at a time: libdw looks for a name from the
 * first symbol on each time, here one pass over a file's symbols serves all. While the
 * program runs the watcher does it ahead, in its idle moments.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "watch.h"

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* frame -> text, both interned. */
static struct {
	const char *frame, *text;
} * cache;
static uint64_t cache_room, cache_used;

static uint64_t slot_of(const char *frame)
{
	uint64_t at = (uintptr_t)frame * UINT64_C(0x9e3779b97f4a7c15) >> 20;

	while (cache[at & (cache_room - 1)].frame &&
	       cache[at & (cache_room - 1)].frame != frame)
		at++;
	return at & (cache_room - 1);
}

static void remember(const char *frame, const char *text)
{
	uint64_t at;

	if (cache_used * 2 >= cache_room) {
		uint64_t n = cache_room;
		__typeof(cache) old = cache;

		cache_room = n ? n * 2 : 1024;
		cache = watch_alloc(cache_room, sizeof(*cache));
		for (uint64_t i = 0; i < n; i++)
			if (old[i].frame)
				cache[slot_of(old[i].frame)] = old[i];
		free(old);
	}
	at = slot_of(frame);
	cache_used += !cache[at].frame;
	cache[at].frame = frame;
	cache[at].text = watch_intern(text);
}

static const char *remembered(const char *frame)
{
	return cache_room ? cache[slot_of(frame)].text : NULL;
}

/* A frame that waits for its name. */
struct wanted {
	const char *frame;
	const char *file; /* interned */
	uint64_t address; /* in the file */
	char name[200];
	uint64_t start, size; /* of the symbol found so far */
};

/* False: it is only words. */
static bool take_apart(const char *frame, struct wanted *want)
{
	const char *tab = strchr(frame, '\t');
	char path[512];

	if (!tab)
		return false;
	snprintf(path, sizeof(path), "%.*s", (int)(tab - frame), frame);
	memset(want, 0, sizeof(*want));
	want->frame = frame;
	want->file = watch_intern(path);
	want->address = strtoull(tab + 1, NULL, 16);
	return true;
}

static int by_file(const void *a, const void *b)
{
	const struct wanted *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return x->address < y->address ? -1 : x->address > y->address;
}

static void name_frame(struct wanted *want, const char *line)
{
	char text[640], *at = strchr(want->name, '@');

	if (at && at != want->name)
		*at = '\0';
	if (!want->name[0])
		snprintf(text, sizeof(text), "0x%" PRIx64 " %s", want->address,
			 base_name(want->file));
	else if (line)
		snprintf(text, sizeof(text), "%s (%s) %s", want->name, line,
			 base_name(want->file));
	else
		snprintf(text, sizeof(text), "%s+0x%" PRIx64 " %s", want->name,
			 want->address - want->start, base_name(want->file));
	remember(want->frame, text);
}

#ifdef HMMU_LIBDW
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <pthread.h>

#define FILES 256

/* By build ID, under /usr/lib/debug. (libdw's own search would load a client of servers of
 * debug information first, and look in many other places.) */
static int find_debuginfo(Dwfl_Module *mod, void **user, const char *name, Dwarf_Addr base,
			  const char *file, const char *link, GElf_Word crc, char **found)
{
	const unsigned char *id;
	char path[160];
	GElf_Addr at;
	int fd, n = dwfl_module_build_id(mod, &id, &at), used;

	if (n < 2 || n > 32)
		return -1;
	used = snprintf(path, sizeof(path), "/usr/lib/debug/.build-id/%02x/", id[0]);
	for (int i = 1; i < n; i++)
		used += snprintf(path + used, sizeof(path) - (size_t)used, "%02x", id[i]);
	snprintf(path + used, sizeof(path) - (size_t)used, ".debug");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		*found = strdup(path);
	return fd;
}

static const Dwfl_Callbacks callbacks = {
	.find_elf = dwfl_build_id_find_elf,
	.find_debuginfo = find_debuginfo,
	.section_address = dwfl_offline_section_address,
};

static Dwfl_Module *open_module(const char *path)
{
	Dwfl *dwfl = dwfl_begin(&callbacks);
	Dwfl_Module *mod;

	if (!dwfl)
		return NULL;
	dwfl_report_begin(dwfl);
	mod = dwfl_report_offline(dwfl, path, path, -1);
	dwfl_report_end(dwfl, NULL, NULL);
	return mod;
}

/*
 * libc is in nearly every stack, and its debug information, where it is installed, takes
 * tens of milliseconds to unpack: that is done in a thread of its own while the command
 * starts. Nobody else touches that handle before the thread has been joined.
 */
static struct {
	const char *path; /* interned; NULL: not begun, or joined */
	Dwfl_Module *mod;
	pthread_t thread;
} ahead;

static void *open_ahead(void *arg)
{
	GElf_Addr bias;

	ahead.mod = open_module(ahead.path);
	if (ahead.mod) {
		dwfl_module_getsymtab(ahead.mod);
		dwfl_module_getdwarf(ahead.mod, &bias);
	}
	return NULL;
}

void watch_resolve_ahead(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[600];

	while (f && !ahead.path && fgets(line, sizeof(line), f)) {
		char *path = strchr(line, '/');

		line[strcspn(line, "\n")] = '\0';
		if (path && strstr(path, "/libc.so."))
			ahead.path = watch_intern(path);
	}
	if (f)
		fclose(f);
	if (ahead.path && pthread_create(&ahead.thread, NULL, open_ahead, NULL))
		ahead.path = NULL;
}

static Dwfl_Module *open_file(const char *path)
{
	static struct {
		const char *path;
		Dwfl_Module *mod;
	} files[FILES];
	static unsigned int n;

	for (unsigned int i = 0; i < n; i++)
		if (files[i].path == path)
			return files[i].mod;
	if (n == FILES)
		return NULL;
	files[n].path = path;
	if (ahead.path == path) {
		pthread_join(ahead.thread, NULL);
		ahead.path = NULL;
		files[n].mod = ahead.mod;
	} else {
		files[n].mod = open_module(path);
	}
	return files[n++].mod;
}

/* The first at or above @address. */
static uint32_t first_from(const struct wanted *list, uint32_t n, uint64_t address)
{
	uint32_t low = 0, high = n;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (list[middle].address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Of two names of one function: the one that programs call it by. */
static bool better(const char *name, const char *than)
{
	size_t a = strspn(name, "_"), b = strspn(than, "_");

	return a != b ? a < b : strcspn(name, "@") < strcspn(than, "@");
}

/* The innermost function that holds it; one with a size before one without. */
static void offer(struct wanted *want, const char *name, const GElf_Sym *sym, uint64_t start)
{
	bool inside = want->address < start + sym->st_size;

	if (sym->st_size && !inside)
		return;
	if (want->name[0] &&
	    (start < want->start || (start == want->start && !better(name, want->name))))
		return;
	if (want->name[0] && want->size && !sym->st_size)
		return;
	snprintf(want->name, sizeof(want->name), "%s", name);
	want->start = start;
	want->size = sym->st_size;
}

static void find_names(Dwfl_Module *mod, GElf_Addr bias, struct wanted *list, uint32_t n)
{
	int symbols = dwfl_module_getsymtab(mod);

	for (int i = 1; i < symbols; i++) {
		GElf_Addr value;
		GElf_Word shndx;
		GElf_Sym sym;
		const char *name =
			dwfl_module_getsym_info(mod, i, &sym, &value, &shndx, NULL, NULL);
		int type = GELF_ST_TYPE(sym.st_info);
		uint64_t start = value - bias;

		if (!name || !*name || shndx == SHN_UNDEF ||
		    (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE) ||
		    (type == STT_NOTYPE && !sym.st_size))
			continue;
		for (uint32_t k = first_from(list, n, start);
		     k < n && list[k].address < start + (sym.st_size ? sym.st_size : 4096); k++)
			offer(&list[k], name, &sym, start);
	}
}

static bool find_line(Dwfl_Module *mod, GElf_Addr bias, uint64_t address, char *text, size_t n)
{
	Dwfl_Line *line = dwfl_module_getsrc(mod, address + bias);
	const char *file = NULL;
	int number = 0;

	if (line)
		file = dwfl_lineinfo(line, NULL, &number, NULL, NULL, NULL);
	if (!file)
		return false;
	snprintf(text, n, "%s:%d", base_name(file), number);
	return true;
}

/* All of one file, by address. */
static void resolve_file(struct wanted *list, uint32_t n)
{
	Dwfl_Module *mod = open_file(list[0].file);
	GElf_Addr bias = 0;
	char line[160];

	if (mod && dwfl_module_getelf(mod, &bias))
		find_names(mod, bias, list, n);
	else
		mod = NULL;
	for (uint32_t i = 0; i < n; i++) {
		bool known = mod && find_line(mod, bias, list[i].address, line, sizeof(line));

		name_frame(&list[i], known ? line : NULL);
	}
}
#else
void watch_resolve_ahead(void)
{
}

static void resolve_file(struct wanted *list, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		name_frame(&list[i], NULL);
}
#endif

static void resolve(struct wanted *list, uint32_t n)
{
	uint32_t from = 0;

	qsort(list, n, sizeof(*list), by_file);
	for (uint32_t i = 1; i <= n; i++) {
		if (i < n && list[i].file == list[from].file)
			continue;
		resolve_file(list + from, i - from);
		from = i;
	}
}

/* The frames of sites order[0 .. n - 1], at most @frames of each; order NULL: of all. */
void watch_resolve(const struct watch *w, const uint32_t *order, uint32_t n, uint32_t frames)
{
	struct wanted *list = NULL;
	uint64_t room = 0;
	uint32_t nr = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct watch_site *s = &w->sites[order ? order[i] : i];

		for (uint32_t k = 0; k < s->nr_frames && k < frames; k++) {
			if (remembered(s->frames[k]))
				continue;
			list = watch_grow(list, &room, nr + 1, sizeof(*list));
			nr += take_apart(s->frames[k], &list[nr]);
			/* So that it is wanted once; its text comes. */
			remember(s->frames[k], s->frames[k]);
		}
	}
	if (nr)
		resolve(list, nr);
	free(list);
}

const char *watch_frame_text(const char *frame)
{
	struct wanted want;

	if (!remembered(frame) && take_apart(frame, &want))
		resolve(&want, 1);
	return remembered(frame) ? remembered(frame) : frame;
}
