" Vim syntax: moonloop's keywords in Lua files.
" Put the folder share/vim into 'runtimepath', or copy this file to ~/.vim/after/syntax/lua.vim.
"
" They are keywords only where plain Lua could not go on, as docs/internals/keywords.md says.

syn match luaAsync /\%([.:]\s*\)\@<!\<async\>\ze[ \t]\+\%(function\|with\|for\)\>/
      \ containedin=ALLBUT,luaComment,luaString,luaString2,luaSpecial,luaTodo
syn match luaAwait /\%([.:]\s*\)\@<!\<await\>\ze[ \t]\+\%(\%(and\|do\|else\|elseif\|end\|for\|function\|if\|in\|local\|nil\|not\|or\|repeat\|return\|then\|until\|while\|goto\|break\|true\|false\)\>\)\@!\h/
      \ containedin=ALLBUT,luaComment,luaString,luaString2,luaSpecial,luaTodo
syn match luaAsyncWith /\%(\<async\>[ \t]\+\)\@<=with\>/
      \ containedin=ALLBUT,luaComment,luaString,luaString2,luaSpecial,luaTodo
syn match luaAsyncAs /\%(\<async[ \t]\+with\>.*\)\@<=\<as\>\ze[ \t]\+\h/
      \ containedin=ALLBUT,luaComment,luaString,luaString2,luaSpecial,luaTodo

hi def link luaAsync Statement
hi def link luaAwait Statement
hi def link luaAsyncWith Statement
hi def link luaAsyncAs Statement
