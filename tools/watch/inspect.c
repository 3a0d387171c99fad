// SPDX-License-Identifier: MIT
/*
 * inspect.c - will preloading reach this file? It does where the dynamic linker of this
 * architecture starts it with our environment.
 */
#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "watch.h"

#if defined(__x86_64__)
#define OWN_MACHINE EM_X86_64
#else
#define OWN_MACHINE EM_NONE
#endif
#define SCRIPTS 4 /* as deep as the kernel goes */

static bool has_interpreter(int fd, const Elf64_Ehdr *ehdr)
{
	Elf64_Phdr phdr;

	for (unsigned int i = 0; i < ehdr->e_phnum; i++) {
		off_t at = (off_t)(ehdr->e_phoff + i * (uint64_t)sizeof(phdr));

		if (pread(fd, &phdr, sizeof(phdr), at) != (ssize_t)sizeof(phdr))
			return false;
		if (phdr.p_type == PT_INTERP)
			return true;
	}
	return false;
}

static const char *privileged(int fd)
{
	struct stat st;

	if (!fstat(fd, &st) && (st.st_mode & (S_ISUID | S_ISGID)) && geteuid() != st.st_uid)
		return "it is set-uid or set-gid: the dynamic linker drops preloads";
	if (geteuid() && fgetxattr(fd, "security.capability", NULL, 0) > 0)
		return "it has file capabilities: the dynamic linker drops preloads";
	return NULL;
}

static const char *look_at(int fd, char *interpreter, size_t size)
{
	unsigned char head[256] = {0};
	Elf64_Ehdr ehdr;
	ssize_t n = pread(fd, head, sizeof(head) - 1, 0);

	interpreter[0] = '\0';
	if (n > 2 && head[0] == '#' && head[1] == '!') {
		const char *from = (const char *)head + 2 + strspn((char *)head + 2, " \t");

		snprintf(interpreter, size, "%.*s", (int)strcspn(from, " \t\n"), from);
		return NULL;
	}
	if (n < (ssize_t)sizeof(ehdr) || memcmp(head, ELFMAG, SELFMAG) != 0)
		return NULL; /* the shell's, or nobody's */
	memcpy(&ehdr, head, sizeof(ehdr));
	if (ehdr.e_ident[EI_CLASS] != ELFCLASS64 || ehdr.e_machine != OWN_MACHINE)
		return "it is made for another architecture than the module";
	if (ehdr.e_phentsize != sizeof(Elf64_Phdr) || !has_interpreter(fd, &ehdr))
		return "it is statically linked";
	return privileged(fd);
}

const char *watch_unreachable(const char *path)
{
	char name[256], next[256];
	const char *why = NULL;

	snprintf(name, sizeof(name), "%s", path);
	for (int i = 0; i < SCRIPTS && name[0] && !why; i++) {
		int fd = open(name, O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			return NULL;
		why = look_at(fd, next, sizeof(next));
		close(fd);
		memcpy(name, next, sizeof(name));
	}
	return why;
}
