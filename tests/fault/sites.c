// SPDX-License-Identifier: MIT
/*
 * sites.c - where a call comes from, by the symbols of this program's own file. Static
 * functions are there with the name of their source file before them.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inject.h"
#include "wraps.h"

struct site {
	uint64_t start, end;
	const char *name, *file;
};

#define APPS 16

extern const char __executable_start[];
static struct site *sites;
static size_t nsites;
static struct site apps[APPS];
static unsigned int napps;

uint64_t site_of(const void *address)
{
	return (uint64_t)address - (uint64_t)__executable_start;
}

/* change.c makes the application's calls. */
static bool makes_calls(const struct site *s)
{
	return (s->file && !strcmp(s->file, "change.c")) ||
	       !strncmp(s->name, "hmmu_hook_make", 14);
}

bool site_is_app(uint64_t site)
{
	for (unsigned int i = 0; i < napps; i++)
		if (site >= apps[i].start && site <= apps[i].end)
			return true;
	return false;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void read_symbols(const unsigned char *elf, const Elf64_Shdr *symtab,
			 const char *strings)
{
	const Elf64_Sym *sym = (const Elf64_Sym *)(elf + symtab->sh_offset);
	size_t n = symtab->sh_size / sizeof(*sym);
	const char *file = NULL;

	sites = __real_calloc(n, sizeof(*sites));
	for (size_t i = 0; i < n; i++) {
		const char *name = strings + sym[i].st_name;

		if (ELF64_ST_TYPE(sym[i].st_info) == STT_FILE)
			file = base_name(name);
		if (ELF64_ST_TYPE(sym[i].st_info) != STT_FUNC || !sym[i].st_size)
			continue;
		sites[nsites] = (struct site){
			.start = sym[i].st_value,
			.end = sym[i].st_value + sym[i].st_size,
			.name = name,
			.file = ELF64_ST_BIND(sym[i].st_info) == STB_LOCAL ? file : NULL,
		};
		if (makes_calls(&sites[nsites]) && napps < APPS)
			apps[napps++] = sites[nsites];
		nsites++;
	}
}

/* The file stays mapped: names lie in it. */
void sites_read(void)
{
	int fd = __real_open64("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	const unsigned char *elf;
	const Elf64_Ehdr *header;
	const Elf64_Shdr *section;
	struct stat st;

	if (nsites || fd < 0 || fstat(fd, &st))
		return;
	elf = __real_mmap64(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (elf == MAP_FAILED)
		return;
	header = (const Elf64_Ehdr *)elf;
	section = (const Elf64_Shdr *)(elf + header->e_shoff);
	for (unsigned int i = 0; i < header->e_shnum; i++)
		if (section[i].sh_type == SHT_SYMTAB)
			read_symbols(elf, &section[i],
				     (const char *)elf + section[section[i].sh_link].sh_offset);
}

void site_name(uint64_t site, char *name, unsigned int size)
{
	/* A return address: the call is before it. */
	for (size_t i = 0; i < nsites; i++) {
		const struct site *s = &sites[i];

		if (site <= s->start || site > s->end)
			continue;
		snprintf(name, size, "%s%s%s+%#llx", s->file ? s->file : "", s->file ? ":" : "",
			 s->name, (unsigned long long)(site - s->start));
		return;
	}
	snprintf(name, size, "%#llx", (unsigned long long)site);
}
